"""The results of a run, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfvae.data import BINARIZATIONS

_SHOWN = 12  # rates of single variables; of more, a few say how they are spread

_RUNGS = {
    "encoder": "elbo, encoder",
    "refined": "  best of its family",
    "linear": "  and a linear map",
    "flow": "  and a flow",
    "log_likelihood": "AIS",
}
_GAPS = {
    "total": "whole gap",
    "amortisation": "amortisation gap",
    "approximation": "approximation gap",
    "linear_gain": "  a linear map",
    "flow_gain": "  a flow",
    "rest": "  the rest",
}


def evaluation_text(evaluation: Mapping[str, Any]) -> str:
    """Returns the results of `evaluate_run` as a table for people."""
    count = evaluation["num_samples"]
    lines = [
        f"{evaluation['dataset']}, {evaluation['num_images']} {evaluation['split']} "
        f"images, {binarization_text(evaluation)}, K = {count}, seed "
        f"{evaluation['seed']}, after {evaluation['step']} training steps",
        *_section(evaluation, count),
    ]
    if "discrete_twin" in evaluation:
        lines += ["", *_section(evaluation["discrete_twin"], count)]
        lines += ["", "relaxed model - discrete twin, on the same images"]
        lines += [
            _row(f"L_{count}" if name == "log_likelihood" else name, gap)
            for name, gap in evaluation["gap"].items()
        ]
    if "classification" in evaluation:
        found = evaluation["classification"]
        lines += [
            "",
            f"q(y|x): accuracy {found['accuracy']:.4f}, calibration error "
            f"{found['calibration_error']:.4f}, of {found['num_images']} labels",
        ]
    if "ais" in evaluation:
        lines += ["", *_annealed(evaluation["ais"], count)]
    if "gaps" in evaluation:
        lines += ["", *_gaps(evaluation["gaps"])]
    lines.append("")
    lines.append("mean over images +- its standard error; ess in samples, of K")
    return "\n".join(lines)


def binarization_text(found: Mapping[str, Any]) -> str:
    """Returns the binarisation, and which draw it is if it is one."""
    name = found["binarization"]
    drawn = BINARIZATIONS[name].draws != "never"
    draw = f" (draw {found['binarization_seed']})" if drawn else ""
    return f"binarization {name}{draw}"


def with_error(found: Mapping[str, Any], digits: int = 2, name: str = "mean") -> str:
    """Returns "mean +- standard error" of an estimate, or of another number of it."""
    error = found["standard_error" if name == "mean" else f"{name}_standard_error"]
    spread = "?" if error is None else f"{error:.{digits}f}"
    return f"{found[name]:.{digits}f} +- {spread}"


def _section(section: Mapping[str, Any], count: int) -> list[str]:
    """Returns the lines of one model."""
    lines = [f"L_{count} and elbo are lower bounds on {section['bounds']}", ""]
    bits = any("bits_per_dim" in result for result in section["results"].values())
    heading = f"{section['model']:20} {'nats':>20}"
    lines.append(f"{heading} {'bits per dimension':>24}" if bits else heading)
    for name, result in section["results"].items():
        label = f"L_{count}" if name == "log_likelihood" else name
        lines.append(_row(label, result))
    return [
        *lines,
        *low_ess_text(section, count),
        "",
        *_posterior(section["posterior"]),
    ]


def low_ess_text(model: Mapping[str, Any], count: int) -> list[str]:
    """Returns a line on bounds of K samples that hang on single ones, if there are."""
    few = model["images_with_ess_below_2"]
    if not few:
        return []
    images = "image has" if few == 1 else "images have"
    return [
        f"{few} {images} an effective sample size below 2 of {count}: their "
        f"L_{count} hangs on single samples"
    ]


def _row(label: str, result: Mapping[str, Any]) -> str:
    has_bits = "bits_per_dim" in result
    bits = with_error(result, 4, "bits_per_dim") if has_bits else ""
    return f"{label:20} {with_error(result):>20} {bits:>24}".rstrip()


def _posterior(posterior: Mapping[str, Any]) -> list[str]:
    lines, layers = [], posterior["layers"]
    for number, layer in enumerate(layers, start=1):
        which = f" of layer {number}" if len(layers) > 1 else ""
        sampled = ", sampled" if layer["means"] == "sampled" else ""
        if layer["active_units"] is None:
            lines.append(f"active units{which}: not defined for one image")
        else:
            lines.append(
                f"active units{which}: {layer['active_units']} of "
                f"{len(layer['mean_variances'])} (variance of E_q[z] over images > "
                f"{posterior['active_above']}{sampled})"
            )
        lines.append(f"rate of each variable{which}: {_rates(layer)}")
    aggregate = posterior["aggregate"]
    lines += [
        f"mutual information of image and z: "
        f"{with_error(aggregate['mutual_information'])} nats, estimated with "
        f"{aggregate['num_images']} images: at most "
        f"{aggregate['mutual_information_at_most']:.2f}",
    ]
    if "divergence" in aggregate:
        lines.append(
            "KL of the aggregate posterior from the prior: "
            f"{with_error(aggregate['divergence'])} nats, estimated with the same "
            "images"
        )
    return lines


def _rates(layer: Mapping[str, Any]) -> str:
    rates = layer["variable_rates"]
    if rates is None:
        return layer["rates"]
    how = f"nats, {layer['rates']}"
    if len(rates) <= _SHOWN:
        return f"{' '.join(f'{rate:.2f}' for rate in rates)} {how}"
    low, *_, high = ordered = sorted(rates)
    middle = ordered[len(ordered) // 2]
    return f"{low:.2f} to {high:.2f}, in the middle {middle:.2f} {how}"


def _annealed(ais: Mapping[str, Any], count: int) -> list[str]:
    lines = [
        f"annealed importance sampling, {ais['model']}: {ais['num_chains']} chains "
        f"from the {ais['initial']}, {ais['num_steps']} steps, "
        f"{ais['num_leapfrog_steps']} leapfrog steps each",
        _row("AIS", ais["log_likelihood"]),
        _row(f"AIS - L_{count}", ais["above_log_likelihood"]),
        f"{'acceptance':20} {with_error(ais['acceptance'], 3):>20}",
        f"{'ess, of the chains':20} {with_error(ais['ess']):>20}",
    ]
    if "bdmc" in ais:
        both = ais["bdmc"]
        lines += [
            f"{both['num_images']} images that the model made, from both sides (BDMC)",
            _row("lower bound", both["lower"]),
            _row("upper bound", both["upper"]),
            _row("upper - lower", both["gap"]),
        ]
    return lines


def _gaps(gaps: Mapping[str, Any]) -> list[str]:
    elbos, differences = gaps["elbos"], gaps["differences"]
    lines = [
        f"where the nats go, {gaps['model']}: elbos of q(z|x), then of each image's "
        f"own q, {gaps['gap_steps']} steps",
        *(_row(_RUNGS[name], each) for name, each in elbos.items()),
        *(_row(words, differences[name]) for name, words in _GAPS.items()),
    ]
    if "bdmc_width" in gaps:
        lines.append(_row("AIS, width (BDMC)", gaps["bdmc_width"]))
    if differences["rest"]["mean"] < 0:
        lines.append(
            "AIS, a lower bound too, is below the flow's elbo, so that the whole gap "
            "is larger than it says; give more --ais-steps"
        )
    return lines
