"""What each class of the library computes, in one line; symbols as in ``docs/attacks.md``."""

from __future__ import annotations

_STEP = "xₜ₊₁ = Π(xₜ + α sign g)"
_MOMENTUM = "mₜ₊₁ = μ mₜ + g / mean|g|, xₜ₊₁ = Π(xₜ + α sign mₜ₊₁)"

FORMULAS = {
    "FGSM": "x' = clip(x + ε sign ∇CE(x))",
    "FFGSM": "x' = Π(x₀ + α sign ∇CE(x₀)), x₀ uniform in the ball",
    "BIM": f"{_STEP}, g = ∇CE(xₜ), x₀ = x",
    "RFGSM": f"{_STEP}, g = ∇CE(xₜ), x₀ = clip(x + α sign n), n normal",
    "PGD": f"{_STEP}, g = ∇CE(xₜ), x₀ uniform in the ball",
    "EOTPGD": f"{_STEP}, g = sum of ∇CE(xₜ) over eot_iter forward passes",
    "TPGD": f"{_STEP}, g = ∇KL(softmax f(x) ‖ softmax f(xₜ)), x₀ = x + 0.001 n, n normal",
    "UPGD": f"{_MOMENTUM}, g = mean of ∇L(xₜ) over eot_iter passes, L the chosen loss",
    "Jitter": f"{_STEP}, g = ∇‖softmax(s f(xₜ) / max|f(xₜ)|) + σ n - onehot(y)‖², "
    "divided by ‖xₜ - x‖∞ where xₜ is misclassified",
    "PGDRS": f"{_STEP}, g = ∇(-log mean softmax f(xₜ + noise)[y]), the mean over draws of noise",
    "PGDL2": "xₜ₊₁ = Π(xₜ + α g / ‖g‖₂), g = ∇CE(xₜ)",
    "PGDRSL2": "xₜ₊₁ = Π(xₜ + α g / ‖g‖₂), g as in torchattacks.PGDRS",
    "MIFGSM": f"{_MOMENTUM}, g = ∇CE(xₜ)",
    "NIFGSM": f"{_MOMENTUM}, g = ∇CE(xₜ + μ α mₜ)",
    "SINIFGSM": f"{_MOMENTUM}, g = mean over i < m of ∇CE((xₜ + μ α mₜ) / 2ⁱ)",
    "VMIFGSM": f"{_MOMENTUM}, g = ∇CE(xₜ) + vₜ, vₜ₊₁ = mean over N points within β ε of xₜ of "
    "their ∇CE, less ∇CE(xₜ)",
    "VNIFGSM": f"{_MOMENTUM}, g = ∇CE(xₜ + μ α mₜ) + vₜ, v as in torchattacks.VMIFGSM",
    "DIFGSM": f"{_MOMENTUM}, g = ∇CE(D(xₜ)), D a random resize and pad with probability p",
    "TIFGSM": f"{_MOMENTUM}, g = kernel * ∇CE(D(xₜ)), D as in torchattacks.DIFGSM",
    "PIFGSM": "aₜ₊₁ = aₜ + β sign g, then aₜ₊₁ and xₜ₊₁ = clip(xₜ + β sign g + p) take p = β sign "
    "(neighbours * what of aₜ₊₁ exceeds ε), β = amplification ε / steps, g = ∇CE(xₜ)",
    "PIFGSMPP": "as torchattacks.PIFGSM with g = gaussian kernel * ∇CE(xₜ) and p scaled by "
    "project_factor",
    "APGD": "as apgd-ce or apgd-dlr",
    "APGDT": "as apgd-t",
    "FAB": "as fab-t",
    "Square": "as square",
    "AutoAttack": "as autoattack, or the chosen version of it",
    "SPSA": "Adam on g = mean over draws of v (L(xₜ + δ v) - L(xₜ - δ v)) / 2δ, v = ±1 per pixel, "
    "L the margin, then Π",
    "CW": "min over w of ‖x' - x‖₂² + c max(z_y - max_k≠y z_k, -κ), x' = (tanh w + 1) / 2, by Adam",
    "DeepFool": "xₜ₊₁ = xₜ + (1 + overshoot) |f_k - f_y| g / ‖g‖₂², g = ∇(f_k - f_y), k the "
    "class whose linearised boundary is closest",
    "EADEN": "min of c max(0, margin + κ) + ‖x' - x‖₂² + β ‖x' - x‖₁ by iterative shrinkage; "
    "the least L1 and L2 sum counts",
    "EADL1": "as torchattacks.EADEN; the least L1 counts",
    "SparseFool": "xₜ₊₁ = x moved along one pixel after the other onto the plane that touches the "
    "boundary at x + λ (DeepFool(xₜ) - x)",
    "OnePixel": "min over positions and values of the pixels of softmax f(x')[y], by differential "
    "evolution",
    "Pixle": "x' = x with the pixels of a random patch written to other places, kept where "
    "softmax f(x')[y] falls",
    "JSMA": "the pair of pixels with the largest -(Σ ∂z_t)(Σ ∂z_other) moves by θ, t = y + 1",
    "GN": "x' = clip(x + σ n), n normal",
    "VANILA": "x' = x",
}
"""By the name of the class."""
