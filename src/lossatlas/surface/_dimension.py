"""How many dimensions the graph of a loss lives in: one per trainable weight, and one for the loss itself.

A user's model is counted as it is, also on torch's ``meta`` device; well-known models are counted from the
shapes in their papers, so that GPT-3 costs no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lossatlas import _checks
from lossatlas._errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Dimension:
    """The size of a model, and of the space in which its loss is a graph.

    Attributes:
        name: the model's class, or the name of the standard model.
        parameters: N, trainable weights, tied ones once.
        frozen: weights held constant; they are no coordinates of the surface.
        tensors: number of trainable parameter tensors; 0 if no configuration is known.
        note: what a reader of the number should know; may be empty.
        source: where the shapes were published; empty for a user's model.
        rumored: the number was never published: it is hearsay, not a count.
    """

    name: str
    parameters: int
    frozen: int
    tensors: int
    note: str = ""
    source: str = ""
    rumored: bool = False

    @property
    def surface(self) -> int:
        """N + 1: the graph of L needs one axis for each weight and one for the loss."""
        return self.parameters + 1

    @property
    def sentence(self) -> str:
        """The result in words; a rumor is never worded as a count."""
        if self.rumored:
            return f"{self.name}: rumored to have about {self.parameters / 1e12:g} trillion parameters. {self.note}"
        text = (
            f"{self.name}: {self.parameters:,} trainable parameters in {self.tensors:,} tensors; "
            f"the graph of its loss lives in {self.surface:,} dimensions."
        )
        return f"{text} {self.note}".rstrip()


@dataclass(frozen=True)
class Standard:
    """A well-known model as data.

    Attributes:
        source: where its configuration was published.
        shapes: its trainable tensors, tied ones once.
        note: what a reader of the number should know; may be empty.
        frozen: weights that its authors hold constant.
        rumored: for a model without a published configuration, the number that is passed around.
    """

    source: str
    shapes: tuple[Shape, ...] = ()
    note: str = ""
    frozen: int = 0
    rumored: int | None = None


def count(model: nn.Module) -> Dimension:
    """Count the dimensions of a model's loss surface.

    Only shapes are looked at, so a model built under ``torch.device("meta")`` needs no memory. A complex
    weight counts as two real ones; buffers, such as running statistics, are no weights.

    Args:
        model: any module.

    Returns:
        Dimension: with tied weights counted once and frozen ones apart.

    Raises:
        ModelError: for something that is no module, or one with lazy layers that have no shape yet.

    Example:
        >>> count(nn.Linear(1, 1)).surface
        3
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"got a model of type {type(model).__name__}; expected a torch.nn.Module "
            "(an instance, not a class). Build the model first."
        )
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if is_lazy(parameter):
            raise ModelError(
                f"the parameter {name!r} of {type(model).__name__} is lazy and has no shape yet; expected "
                "a model whose sizes are known. Run one batch through it first."
            )
        names.setdefault(id(parameter), []).append(name)
    unique = list(model.parameters())
    trainable = [_size(parameter) for parameter in unique if parameter.requires_grad]
    frozen = sum(_size(parameter) for parameter in unique if not parameter.requires_grad)
    tied = [" = ".join(group) for group in names.values() if len(group) > 1]
    remarks = []
    if not trainable:
        remarks.append("Nothing is trainable, so there is no surface to walk on.")
    if frozen:
        remarks.append(f"{frozen:,} frozen weights are constants of the surface, not coordinates.")
    if tied:
        more = f" and {len(tied) - 3} more" if len(tied) > 3 else ""
        remarks.append(f"Tied weights are counted once: {', '.join(tied[:3])}{more}.")
    return Dimension(type(model).__name__, sum(trainable), frozen, len(trainable), " ".join(remarks))


def standard_dimension(name: str) -> Dimension:
    """Count a well-known model from the shapes in its paper, in well under a second and without its weights.

    Args:
        name: a key of ``standard``.

    Returns:
        Dimension: with its source; ``rumored`` where nothing was published.

    Raises:
        UnknownNameError: if there is no such standard model.

    Example:
        >>> f"{standard_dimension('resnet50').surface:,}"
        '25,557,033'
    """
    _checks.one_of("standard model", name, standard)
    entry = standard[name]
    parameters = sum(map(math.prod, entry.shapes)) if entry.rumored is None else entry.rumored
    return Dimension(
        name, parameters, entry.frozen, len(entry.shapes), entry.note, entry.source, entry.rumored is not None
    )


def _size(parameter: Tensor) -> int:
    return parameter.numel() * (2 if parameter.is_complex() else 1)


def _linear(inputs: int, outputs: int) -> list[Shape]:
    return [(outputs, inputs), (outputs,)]


def _mlp(*widths: int) -> list[Shape]:
    return [shape for pair in pairwise(widths) for shape in _linear(*pair)]


def _norm(width: int) -> list[Shape]:
    return [(width,), (width,)]


def _lenet5() -> list[Shape]:
    # C3 connects each of its 16 maps to 3, 4 or all 6 maps of S2 (table I of the paper); S2 and S4 have a
    # trainable coefficient and a bias per map.
    third = [shape for maps in [3] * 6 + [4] * 9 + [6] for shape in ((maps, 5, 5), (1,))]
    return [(6, 1, 5, 5), (6,), *_norm(6), *third, *_norm(16), (120, 16, 5, 5), (120,), *_linear(120, 84)]


def _conv_norm(inputs: int, outputs: int, kernel: int) -> list[Shape]:
    return [(outputs, inputs, kernel, kernel), *_norm(outputs)]


def _resnet(blocks: Iterable[int], *, bottleneck: bool) -> list[Shape]:
    shapes = _conv_norm(3, 64, 7)
    inputs = 64
    for stage, repeats in enumerate(blocks):
        width = 64 * 2**stage
        outputs = 4 * width if bottleneck else width
        for _ in range(repeats):
            if bottleneck:
                shapes += _conv_norm(inputs, width, 1) + _conv_norm(width, width, 3) + _conv_norm(width, outputs, 1)
            else:
                shapes += _conv_norm(inputs, width, 3) + _conv_norm(width, width, 3)
            if inputs != outputs:
                shapes += _conv_norm(inputs, outputs, 1)
            inputs = outputs
    return shapes + _linear(inputs, 1000)


def _transformer(depth: int, width: int, *, fused: bool = True) -> list[Shape]:
    """Layers of attention and a four times wider MLP, all with biases, and two layer norms each."""
    attention = _linear(width, 3 * width) if fused else 3 * _linear(width, width)
    layer = _norm(width) + attention + _linear(width, width) + _norm(width) + _mlp(width, 4 * width, width)
    return depth * layer


def _gpt(depth: int, width: int, context: int, vocabulary: int = 50257) -> list[Shape]:
    # The output layer is the token embedding again, so it is not listed a second time.
    return [(vocabulary, width), (context, width), *_transformer(depth, width), *_norm(width)]


def _llama(depth: int, width: int, hidden: int, vocabulary: int) -> list[Shape]:
    layer = 4 * [(width, width)] + 3 * [(hidden, width)] + 2 * [(width,)]
    return [(vocabulary, width), *(depth * layer), (width,), (vocabulary, width)]


_BERT = [
    (30522, 768),
    (512, 768),
    (2, 768),
    *_norm(768),
    *_transformer(12, 768, fused=False),
    *_linear(768, 768),
]
_VIT = [
    (768, 3, 16, 16),
    (768,),
    (1, 1, 768),
    (1, 197, 768),
    *_transformer(12, 768),
    *_norm(768),
    *_linear(768, 1000),
]
_RESNET = "He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016, arXiv:1512.03385, table 1"
_GPT2 = "Radford et al.: Language models are unsupervised multitask learners, OpenAI 2019, table 2, and its code"

standard: dict[str, Standard] = {
    "regression": Standard(
        "a line y = w1 x + w2", ((1, 1), (1,)), "Two weights: the only kind that can be drawn whole."
    ),
    "mlp-100": Standard("a multilayer perceptron 9-9-1 with biases", tuple(_mlp(9, 9, 1))),
    "mlp-digits": Standard(
        "a multilayer perceptron 64-64-64-10 with biases, for 8x8 digits", tuple(_mlp(64, 64, 64, 10))
    ),
    "lenet5": Standard(
        "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 1998",
        tuple(_lenet5()),
        "As published: sparse C3, trainable subsampling, fixed output units. Modern rewrites with a full C3, "
        "plain pooling and a trained output layer have 61,706.",
        frozen=840,
    ),
    "resnet18": Standard(_RESNET, tuple(_resnet((2, 2, 2, 2), bottleneck=False))),
    "resnet50": Standard(_RESNET, tuple(_resnet((3, 4, 6, 3), bottleneck=True))),
    "vit-b16": Standard(
        "Dosovitskiy et al.: An image is worth 16x16 words, ICLR 2021, arXiv:2010.11929, table 1",
        tuple(_VIT),
        "For 224x224 images and 1,000 classes.",
    ),
    "bert-base": Standard(
        "Devlin, Chang, Lee, Toutanova: BERT, NAACL 2019, arXiv:1810.04805, section 3, and its code (uncased)",
        tuple(_BERT),
        "Encoder and pooler, without the heads of pre-training.",
    ),
    "gpt2": Standard(_GPT2, tuple(_gpt(12, 768, 1024)), "Input and output embedding are tied and counted once."),
    "gpt2-xl": Standard(_GPT2, tuple(_gpt(48, 1600, 1024)), "Input and output embedding are tied and counted once."),
    "gpt3": Standard(
        "Brown et al.: Language models are few-shot learners, NeurIPS 2020, arXiv:2005.14165, table 2.1",
        tuple(_gpt(96, 12288, 2048)),
        "Counted from the published configuration (96 layers, width 12288, 96 heads, context 2048, vocabulary "
        "50257, tied embeddings). The paper rounds it to 175 billion: a graph in 175 billion + 1 dimensions.",
    ),
    "llama2-7b": Standard(
        "Touvron et al.: Llama 2, 2023, arXiv:2307.09288, and released configuration",
        tuple(_llama(32, 4096, 11008, 32000)),
        "Input and output embedding are separate.",
    ),
    "gpt4": Standard(
        "press reports of 2023; OpenAI's technical report (arXiv:2303.08774) gives no size",
        note="A rumor, not a count: OpenAI published neither size nor configuration.",
        rumored=1_800_000_000_000,
    ),
}
