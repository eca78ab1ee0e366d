"""Models, oracles and accidents that several files of tests share."""
