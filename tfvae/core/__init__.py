"""The ground floor: types, validation, seeds, files, devices and sharding."""
