"""What is permuted in some fifty architectures: small configurations, watched, permuted at random and aligned again.

    python bench/symmetry_table.py docs/permuted.md

Every row is one run: groups and units that were found, whether all of them permuted at random leave the outputs as they
are, whether aligning the permuted copy gives back the original bit for bit, and what is not permuted.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

import lossatlas as la
from lossatlas.connect.symmetry._specification import Specification
from lossatlas.demo import digits, digits_cnn, digits_mlp
from lossatlas.surface import StateSurface

TOKENS = torch.randint(0, 24, (4, 8), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SERIES = torch.randn(8, 6, 4, generator=torch.Generator().manual_seed(0))
THREE = torch.arange(8) % 3

Made = tuple[nn.Module, Any, Any]


class Last(nn.Module):
    """A recurrent layer, read at the end."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


class Steps(nn.Module):
    """A recurrent cell, step by step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Residual(nn.Module):
    """Adds what its body makes."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Dense(nn.Module):
    """Joins what its body makes to what it was given."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


class UNet(nn.Module):
    """Down, up, and a shortcut between."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 5, 2, stride=2), nn.Conv2d(11, 7, 3, padding=1)
        self.head = nn.Linear(7, 10)

    def forward(self, x: Tensor) -> Tensor:
        one = F.relu(self.one(x))
        up = F.relu(self.up(F.relu(self.two(F.max_pool2d(one, 2)))))
        return self.head(F.relu(self.out(torch.cat([one, up], 1))).mean((2, 3)))


class Mixer(nn.Module):
    """MLPs over patches and over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 8, stride=8)
        self.tokens = nn.Sequential(nn.Linear(16, 10), nn.GELU(), nn.Linear(10, 16))
        self.channels = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2)
        x = (x + self.tokens(x)).transpose(1, 2)
        return self.head((x + self.channels(x)).mean(1))


class Squeeze(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


def normed(width_in: int, width: int, act: nn.Module, kernel: int = 3, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(width_in, width, kernel, padding=kernel // 2, groups=groups), nn.BatchNorm2d(width), act]


def picture(*layers: nn.Module, width: int) -> Made:
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return model, "cross_entropy", (IMAGES, torch.arange(4))


def series(model: nn.Module) -> Made:
    return model, "cross_entropy", (SERIES, THREE)


def weight_normed() -> nn.Module:
    wn = nn.utils.parametrizations.weight_norm
    return nn.Sequential(nn.Flatten(), wn(nn.Linear(24, 6)), nn.ReLU(), wn(nn.Linear(6, 7)), nn.ReLU(), nn.Linear(7, 3))


def causal(name: str, **more: Any) -> Callable[[], Made]:
    """A language model that returns its own loss."""

    def make() -> Made:
        config = getattr(transformers, f"{name}Config")(
            **{"vocab_size": 24, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, **more}
        )
        model = transformers.AutoModelForCausalLM.from_config(config)
        return model, "model", [{"input_ids": TOKENS, "labels": TOKENS}]

    return make


SIZES = {
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
}
GROUPED = {**SIZES, "num_key_value_heads": 2, "head_dim": 4}


def encoder(name: str, **more: Any) -> Callable[[], Made]:
    """A classifier of texts."""

    def make() -> Made:
        config = getattr(transformers, f"{name}Config")(**{"vocab_size": 24, "pad_token_id": 2, **more})
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        return model, "model", [{"input_ids": TOKENS, "labels": torch.arange(4) % 2}]

    return make


def translator(name: str, **more: Any) -> Callable[[], Made]:
    """An encoder and a decoder."""

    def make() -> Made:
        config = getattr(transformers, f"{name}Config")(
            **{
                "vocab_size": 24,
                "bos_token_id": 0,
                "eos_token_id": 1,
                "pad_token_id": 2,
                "decoder_start_token_id": 0,
                **more,
            }
        )
        model = transformers.AutoModelForSeq2SeqLM.from_config(config)
        return model, "model", [{"input_ids": TOKENS, "labels": TOKENS}]

    return make


def vision(name: str, **more: Any) -> Callable[[], Made]:
    """A classifier of images."""

    def make() -> Made:
        config = getattr(transformers, f"{name}Config")(**more)
        config.num_labels = 5
        model = transformers.AutoModelForImageClassification.from_config(config)
        return model, "cross_entropy", ({"pixel_values": IMAGES, "labels": torch.arange(4)})

    return make


VIT = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}
BERT = {**SIZES}
hs = nn.Hardswish
ARCHITECTURES: dict[str, Callable[[], Made]] = {
    "MLP": lambda: (digits_mlp((12, 9)), "cross_entropy", tuple(p[:20] for p in digits("test"))),
    "MLP, weight norm": lambda: series(weight_normed()),
    "CNN, batch norm": lambda: (digits_cnn(), "cross_entropy", tuple(p[:20] for p in digits("test", images=True))),
    "VGG block": lambda: picture(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2), width=8
    ),
    "pre-activation residual network": lambda: picture(
        nn.Conv2d(3, 8, 3, padding=1),
        Residual(
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, padding=1),
        ),
        width=8,
    ),
    "DenseNet block": lambda: picture(
        nn.Conv2d(3, 6, 3, padding=1),
        Dense(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1)),
        Dense(nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 4, 3, padding=1)),
        width=14,
    ),
    "U-Net": lambda: (UNet(), "cross_entropy", (IMAGES, torch.arange(4))),
    "MLP-Mixer": lambda: (Mixer(), "cross_entropy", (IMAGES, torch.arange(4))),
    "MobileNetV3 block": lambda: picture(
        *normed(3, 8, hs()),
        Residual(*normed(8, 16, hs(), 1), *normed(16, 16, hs(), 3, 16), Squeeze(16), *normed(16, 8, nn.Identity(), 1)),
        width=8,
    ),
    "ResNeXt block (grouped convolution)": lambda: picture(
        *normed(3, 8, nn.ReLU()),
        Residual(*normed(8, 12, nn.ReLU(), 1), *normed(12, 12, nn.ReLU(), 3, 3), *normed(12, 8, nn.Identity(), 1)),
        width=8,
    ),
    "InstanceNorm network": lambda: picture(
        nn.Conv2d(3, 6, 3),
        nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3),
        nn.InstanceNorm2d(5),
        nn.ReLU(),
        width=5,
    ),
    "GroupNorm network": lambda: picture(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 6, 3), nn.SiLU(), width=6
    ),
    "super-resolution (bicubic)": lambda: picture(
        nn.Conv2d(3, 6, 3),
        nn.PReLU(6),
        nn.Upsample(scale_factor=2, mode="bicubic"),
        nn.Conv2d(6, 5, 3),
        nn.LogSigmoid(),
        width=5,
    ),
    "RNN": lambda: series(Last(nn.RNN(4, 6, batch_first=True), 6)),
    "LSTM": lambda: series(Last(nn.LSTM(4, 6, batch_first=True), 6)),
    "LSTM, two layers, both directions": lambda: series(
        Last(nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True), 12)
    ),
    "LSTM with projection": lambda: series(Last(nn.LSTM(4, 6, proj_size=3, batch_first=True), 3)),
    "GRU": lambda: series(Last(nn.GRU(4, 6, batch_first=True), 6)),
    "GRU, both directions": lambda: series(Last(nn.GRU(4, 6, batch_first=True, bidirectional=True), 12)),
    "LSTM cell": lambda: series(Steps(nn.LSTMCell(4, 6))),
    "GRU cell": lambda: series(Steps(nn.GRUCell(4, 6))),
    "torch's transformer encoder": lambda: series(
        nn.Sequential(
            nn.Linear(4, 8),
            nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True),
            nn.Flatten(),
            nn.Linear(48, 3),
        )
    ),
    "GPT-2": causal("GPT2", n_layer=1, n_head=2, n_embd=8, n_positions=16),
    "GPT-Neo": causal(
        "GPTNeo",
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        attention_types=[[["global"], 1]],
        max_position_embeddings=16,
        intermediate_size=12,
    ),
    "GPT-NeoX": causal("GPTNeoX", **SIZES),
    "GPT-J": causal("GPTJ", n_layer=1, n_head=2, n_embd=16, n_positions=16, rotary_dim=4, n_inner=12),
    "OPT": causal(
        "OPT",
        hidden_size=16,
        ffn_dim=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        word_embed_proj_dim=16,
    ),
    "BLOOM": causal("Bloom", hidden_size=16, n_layer=1, n_head=2),
    "Falcon": causal("Falcon", hidden_size=16, num_hidden_layers=1, num_attention_heads=4),
    "Llama (grouped queries)": causal("Llama", **GROUPED),
    "Mistral": causal("Mistral", **GROUPED),
    "Mixtral (experts)": causal("Mixtral", num_local_experts=3, **GROUPED),
    "Qwen2": causal("Qwen2", **{k: v for k, v in GROUPED.items() if k != "head_dim"}),
    "Qwen3": causal("Qwen3", **GROUPED),
    "Gemma": causal("Gemma", **GROUPED),
    "Phi": causal("Phi", **SIZES),
    "Phi-3": causal("Phi3", **{k: v for k, v in GROUPED.items() if k != "head_dim"}),
    "OLMo": causal("Olmo", **SIZES),
    "StableLM": causal("StableLm", **{k: v for k, v in GROUPED.items() if k != "head_dim"}),
    "Mamba": causal("Mamba", hidden_size=8, num_hidden_layers=1, state_size=4),
    "BERT": encoder("Bert", **BERT),
    "RoBERTa": encoder("Roberta", **{**BERT, "max_position_embeddings": 20}),
    "DistilBERT": encoder("DistilBert", dim=16, hidden_dim=12, n_layers=1, n_heads=2, max_position_embeddings=16),
    "ALBERT": encoder("Albert", embedding_size=8, **BERT),
    "ELECTRA": encoder("Electra", embedding_size=8, **BERT),
    "DeBERTa-v2": encoder("DebertaV2", **BERT),
    "T5": translator("T5", d_model=16, d_kv=4, d_ff=12, num_layers=1, num_decoder_layers=1, num_heads=4),
    "BART": translator(
        "Bart",
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=12,
        decoder_ffn_dim=12,
        max_position_embeddings=16,
    ),
    "ViT": vision("ViT", **VIT),
    "DeiT": vision("DeiT", architectures=["DeiTForImageClassification"], **VIT),
    "BEiT": vision("Beit", **VIT),
    "DINOv2": vision("Dinov2", mlp_ratio=1, **VIT),
    "Swin": vision(
        "Swin", image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, mlp_ratio=1.0
    ),
    "ConvNeXt": vision("ConvNext", hidden_sizes=[8, 12], depths=[1, 1], num_stages=2),
    "ResNet": vision("ResNet", embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"),
    "RegNet": vision("RegNet", embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], groups_width=4),
    "MobileNetV2": vision("MobileNetV2", image_size=32, depth_multiplier=0.25, depth_divisible_by=2, min_depth=2),
    "SegFormer": vision(
        "Segformer",
        hidden_sizes=[8, 8],
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        num_attention_heads=[2, 2],
        patch_sizes=[7, 3],
        strides=[4, 2],
        mlp_ratios=[1, 1],
        decoder_hidden_size=8,
    ),
    "PoolFormer": vision(
        "PoolFormer",
        hidden_sizes=[8, 8],
        depths=[1, 1],
        num_encoder_blocks=2,
        patch_sizes=[7, 3],
        strides=[4, 2],
        padding=[2, 1],
        mlp_ratio=1.0,
    ),
}


def drawn(model: nn.Module) -> nn.Module:
    """Random numbers everywhere: at ones and zeros many wrong permutations change nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model.eval()


def row(name: str, make: Callable[[], Made]) -> str:
    """One line of the table, measured."""
    torch.manual_seed(0)
    model, loss, data = make()
    surface = la.NetworkSurface(drawn(model), loss, data)
    states = StateSurface(surface)
    found = Specification.traced(states)
    if not found.groups:
        return f"| {name} | {surface.dimension:,} | 0 | 0 | – | – | {shown(found.left)} |"
    own = states.split(states.start)
    moved = states.join(found.permuted(own, found.random(torch.Generator().manual_seed(1))))
    try:
        aligned = la.align(surface, own, states.split(moved), restarts=3, progress=False)
        off = f"{aligned.specification_check.gap / max(aligned.specification_check.scale, 1e-30):.0e}"
        exact = "yes" if torch.equal(states.join(aligned.permuted), states.start) else f"cosine {aligned.cosine:.3f}"
    except la.LossAtlasError as error:
        off, exact = "refused", shown(str(error)[:80])
    sizes = Counter(group.units for group in found.groups)
    groups = " + ".join(f"{n} × {units}" if n > 1 else f"{units}" for units, n in sorted(sizes.items(), reverse=True))
    units = sum(group.units for group in found.groups)
    return f"| {name} | {surface.dimension:,} | {groups} | {units:,} | {off} | {exact} | {shown(found.left)} |"


def shown(text: str) -> str:
    """A sentence that fits into a cell."""
    text = re.sub(r"^not permuted: ", "", text.replace("no group of hidden units is left out", "–"))
    return text.replace("|", "\\|").replace("_", "\\_")


HEAD = """# What is permuted

Written by `python bench/symmetry_table.py docs/permuted.md`; small configurations, one layer or two each. *Groups*: the
numbers of units that are permuted together ("4 × 8": four groups of eight, as the numbers within each of four heads).
*Off*: the largest difference of outputs after permuting every group at random, as a share of the largest output.
*Recovered*: whether `la.align` undoes such a permutation bit for bit. *Not permuted*: hidden units that stay, and why.

| architecture | parameters | groups | units | off | recovered | not permuted |
|---|---:|---|---:|---:|---|---|
"""


def main(target: Path, most: int) -> None:
    """Measure every row that the page does not hold yet, at most so many, and write it; delete the page to measure all anew."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    known = target.read_text().splitlines() if target.exists() else []
    lines = {name: line for name in ARCHITECTURES for line in known if line.startswith(f"| {name} |")}
    for name, make in ARCHITECTURES.items():
        if name in lines or most == 0:
            continue
        most -= 1
        try:
            lines[name] = row(name, make)
        except Exception as error:  # a row that cannot be made is shown as one
            said = shown(f"not measured: {type(error).__name__}: {error}"[:160]).replace("\n", " ")
            lines[name] = f"| {name} | – | – | – | – | – | {said} |"
        print(lines[name], flush=True)
        page = [lines[name] for name in ARCHITECTURES if name in lines]
        target.write_text(
            HEAD + "\n".join(page) + f"\n\n{sum('not measured' not in one for one in page)} architectures.\n"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((sys.argv[2:] or [len(ARCHITECTURES)])[0]))
