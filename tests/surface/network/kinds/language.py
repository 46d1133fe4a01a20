"""Sequences: transformers from configurations, recurrent layers, embeddings, attention."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
import transformers as hf
from torch import nn
from torch.utils.checkpoint import checkpoint

from ._kind import Kind, cut, kind, noise, refused, seeded, whole_numbers

WORDS, LABELS = whole_numbers(12, 24, 6), whole_numbers(3, 24)
SEQUENCES = noise(24, 5, 4)
# Rows keep 1 to 6 labels, sorted, so that batches keep different numbers.
MASKED = WORDS.masked_fill(torch.arange(6)[None] < (5 - torch.arange(24) // 4)[:, None], -100)
ATTENTION = (torch.arange(6)[None] < (3 + torch.arange(24) % 4)[:, None]).long()
SMALL = {"vocab_size": 12, "pad_token_id": None, "bos_token_id": 0, "eos_token_id": 1}


def gpt2(**more):
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 8}
    rates = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**sizes, **rates, **{**SMALL, **more}))


def llama():
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
    return hf.LlamaForCausalLM(hf.LlamaConfig(**sizes, num_key_value_heads=1, **SMALL))


def mixtral():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    routing = {"num_local_experts": 3, "num_experts_per_tok": 2, "output_router_logits": True}
    config = hf.MixtralConfig(**sizes, num_key_value_heads=1, **routing, router_aux_loss_coef=0.1, **SMALL)
    config._experts_implementation = "eager"
    return hf.MixtralForCausalLM(config)


def t5():
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    return hf.T5ForConditionalGeneration(hf.T5Config(**sizes, **{**SMALL, "pad_token_id": 0}, decoder_start_token_id=0))


def bert(kind_of=hf.BertForSequenceClassification):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return kind_of(
        hf.BertConfig(
            **sizes,
            vocab_size=12,
            pad_token_id=None,
            max_position_embeddings=8,
            num_labels=3,
            attn_implementation="eager",
        )
    )


def clip():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 12, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 11}
    vision = {**sizes, "image_size": 6, "patch_size": 3, "num_channels": 2}
    return hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=4))


def own(name, make, batch, count, **rest):
    """A model that computes its own loss, a mean over `count(batch)` labels; the batch is a dictionary."""
    settings = rest.pop("settings", {})
    data = rest.pop("data", batch)

    def parts(model):
        for begin in range(0, len(batch["labels"]), 5):
            piece = cut(batch, slice(begin, begin + 5))
            if (weight := count(piece)) > 0:
                yield model(**piece).loss, weight

    # A model whose loss is no mean over labels (an auxiliary loss, a contrast within the batch) has one batch.
    return Kind(
        name,
        make,
        lambda model: {"loss": "model", "data": data, **settings},
        lambda model: model(**batch).loss,
        parts if count else None,
        **rest,
    )


def shifted(batch):
    return int((batch["labels"][:, 1:] != -100).sum())


def kept(batch):
    return int((batch["labels"] != -100).sum())


class NanoGPT(nn.Module):
    """forward(idx, targets) → (logits, loss), as nanoGPT has it; its targets are ignored at −1."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(12, 6), nn.Embedding(6, 6)
        self.norm, self.mix, self.out = nn.LayerNorm(6), nn.Linear(6, 18), nn.Linear(6, 12, bias=False)
        self.token.weight = self.out.weight

    def forward(self, idx, targets=None):
        x = self.token(idx) + self.place(torch.arange(idx.shape[1]))
        q, k, v = self.mix(self.norm(x)).chunk(3, -1)
        logits = self.out(x + F.scaled_dot_product_attention(q, k, v, is_causal=True))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


NANO = torch.where(MASKED == -100, -1, WORDS)


def nano_parts(model):
    for begin in range(0, 24, 5):
        targets = NANO[begin : begin + 5]
        if (weight := int((targets != -1).sum())) > 0:
            yield model(WORDS[begin : begin + 5], targets)[1], weight


class Recurrent(nn.Module):
    def __init__(self, layer, **more):
        super().__init__()
        self.layer = layer(4, 5, batch_first=True, **more)
        self.out = nn.Linear(10 if more.get("bidirectional") else 5, 3)

    def forward(self, x):
        return self.out(self.layer(x)[0][:, -1])


class Packed(Recurrent):
    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states = nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0]
        return self.out(states.sum(1) / lengths[:, None])


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.layer(x, x, x, need_weights=False)[0].mean(1))


class Encoder(nn.Module):
    """Without gradients PyTorch takes a fast path here that computes in another order."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.body, self.out = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(4, 3)

    def forward(self, x, mask=None):
        return self.out(self.body(x, src_key_padding_mask=mask).mean(1))


class Bag(nn.Module):
    def __init__(self, **more):
        super().__init__()
        self.embed, self.out = nn.Embedding(12, 4, **more), nn.Linear(4, 3)

    def forward(self, words):
        return self.out(torch.tanh(self.embed(words)).mean(1))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(12, 4), nn.Linear(4, 12, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, words):
        return self.out(torch.tanh(self.embed(words)).mean(1))


def by_token(output, target):
    return F.cross_entropy(output.transpose(1, 2), target)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(12, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(4, 12)

    def forward(self, words):
        return self.out(self.rnn(self.embed(words))[0])


def labeled(output, target):
    return F.cross_entropy(output.logits, target)


LANGUAGE = {"input_ids": WORDS, "labels": MASKED}
LISTED = [cut(LANGUAGE, rows) for rows in (slice(0, 10), slice(10, 17), slice(17, 24))]
CLASSIFIED = {"input_ids": WORDS, "attention_mask": ATTENTION, "labels": LABELS}
PAIRS = {"input_ids": WORDS[:8], "pixel_values": noise(8, 2, 6, 6), "return_loss": True}
# These models of transformers compute a norm or their loss in float32, whatever the type of their weights.
SINGLE = {"tolerance": 1e-6, "product_tolerance": 1e-5, "smooth": False}
LENGTHS = 1 + whole_numbers(5, 24, seed=4)
MASK = torch.arange(5)[None] >= LENGTHS[:, None]
# A layer that differentiates through a fused kernel of its own has no second derivative here.
RECURRENT = {"products": "differences", "product_tolerance": 1e-7}

KINDS = [
    own("GPT-2 with ignored labels", seeded(gpt2), LANGUAGE, shifted, **SINGLE),
    own(
        "GPT-2 with ignored labels, batch by batch",
        seeded(gpt2),
        LANGUAGE,
        shifted,
        data=LISTED,
        **SINGLE,
        breaks=("joined batches",),
    ),
    own(
        "GPT-2 with ignored labels in batches of eight",
        seeded(gpt2),
        LANGUAGE,
        shifted,
        settings={"batch_size": 8},
        breaks=("cuts",),
        **SINGLE,
    ),
    own("Llama", seeded(llama), LANGUAGE, shifted, **SINGLE),
    own("Mixtral with the auxiliary loss of its router", seeded(mixtral), LANGUAGE, None, **SINGLE),
    own("T5", seeded(t5), LANGUAGE, kept, **SINGLE),
    own("BERT that classifies, with its own loss", seeded(bert), CLASSIFIED, lambda b: len(b["labels"])),
    own("BERT for masked words", seeded(lambda: bert(hf.BertForMaskedLM)), LANGUAGE, kept),
    kind("BERT that classifies, with a loss of logits", seeded(bert), labeled, (WORDS, ATTENTION, LABELS)),
    own(
        "BERT with Hugging Face checkpointing",
        lambda: checkpointed(bert),
        CLASSIFIED,
        lambda b: len(b["labels"]),
        products="differences",
        product_tolerance=1e-7,
        breaks=("functional and vmap",),
    ),
    Kind(
        "CLIP with its contrast within the batch",
        seeded(clip),
        lambda model: {"loss": "model", "data": [PAIRS]},
        lambda model: model(**PAIRS).loss,
        breaks=("cuts",),
    ),
    Kind(
        "nanoGPT",
        seeded(NanoGPT),
        lambda model: {"loss": "model", "data": (WORDS, NANO)},
        lambda model: model(WORDS, NANO)[1],
        nano_parts,
    ),
    Kind(
        "nanoGPT in batches of eight",
        seeded(NanoGPT),
        lambda model: {"loss": "model", "data": (WORDS, NANO), "batch_size": 8},
        lambda model: model(WORDS, NANO)[1],
        nano_parts,
        breaks=("cuts",),
    ),
    kind("tags of words, some ignored", seeded(Tagger), by_token, (WORDS, MASKED), split=False, **RECURRENT),
    kind("tied embedding and head", seeded(Tied), "cross_entropy", (WORDS, WORDS[:, 0])),
    kind("plain recurrent layer", seeded(lambda: Recurrent(nn.RNN)), "cross_entropy", (SEQUENCES, LABELS), **RECURRENT),
    kind(
        "LSTM in two directions",
        seeded(lambda: Recurrent(nn.LSTM, bidirectional=True)),
        "cross_entropy",
        (SEQUENCES, LABELS),
        **RECURRENT,
    ),
    kind("GRU", seeded(lambda: Recurrent(nn.GRU)), "cross_entropy", (SEQUENCES, LABELS), **RECURRENT),
    kind(
        "packed sequences", seeded(lambda: Packed(nn.LSTM)), "cross_entropy", (SEQUENCES, LENGTHS, LABELS), **RECURRENT
    ),
    kind("multi-head attention", seeded(Attends), "cross_entropy", (SEQUENCES, LABELS)),
    kind("transformer encoder with its fast path", seeded(Encoder), "cross_entropy", (SEQUENCES, LABELS)),
    kind("transformer encoder with a mask", seeded(Encoder), "cross_entropy", (SEQUENCES, MASK, LABELS)),
    kind("embedding with sparse gradients", seeded(lambda: Bag(sparse=True)), "cross_entropy", (WORDS, LABELS)),
    kind(
        "embedding with a padding row",
        seeded(lambda: Bag(padding_idx=0)),
        "cross_entropy",
        (WORDS, LABELS),
        smooth=False,
    ),
    refused(
        "embedding that renormalizes its own weights",
        seeded(lambda: Bag(max_norm=0.5)),
        "cross_entropy",
        (WORDS, LABELS),
        "ModelError",
        "change|max_norm|renorm",
    ),
    kind(
        "bag of embeddings",
        seeded(lambda: nn.Sequential(nn.EmbeddingBag(12, 4, mode="mean"), nn.Tanh(), nn.Linear(4, 3))),
        "cross_entropy",
        (WORDS, LABELS),
        **RECURRENT,
    ),
    kind(
        "bag of embeddings with sparse gradients",
        seeded(lambda: nn.Sequential(nn.EmbeddingBag(12, 4, mode="sum", sparse=True), nn.Tanh(), nn.Linear(4, 3))),
        "cross_entropy",
        (WORDS, LABELS),
        **RECURRENT,
    ),
]


def checkpointed(build):
    """A model of transformers in training mode, where its checkpointing is on; it has no dropout."""
    model = seeded(build, train=True)()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    for module in model.modules():
        if isinstance(module, hf.modeling_layers.GradientCheckpointingLayer):
            module.gradient_checkpointing = True
            module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    return model
