"""Charts of models that are walked module by module, against copies whose parameters were all moved at once."""

import contextlib
import copy
import time

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import lossatlas as la
from lossatlas.chart.planes._normalize import scale
from lossatlas.chart.streamed import _pieces, _planned, _surface, _weights
from lossatlas.chart.streamed._passes import Pass
from lossatlas.surface import layout_of

POINTS = torch.tensor([[0.0, 0.0], [0.3, -0.2], [-1.0, 0.5], [2.0, 1.0]], dtype=torch.float64)


def moved(surface, model, points, loss):
    """The slow way: a copy of the model for each point."""
    found = []
    for point in points.tolist():
        one = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in one.named_parameters():
                wide = parameter.to(torch.promote_types(parameter.dtype, torch.float32), copy=True)
                for c, d in zip(point, surface.direction(name), strict=True):
                    wide.add_(d.to(wide), alpha=c)
                parameter.copy_(wide)
            found.append(float(loss(one)))
    return torch.tensor(found, dtype=torch.float64)


def gpt2(dtype=torch.float32, vocabulary=96):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=vocabulary, n_positions=16, n_embd=24, n_layer=2, n_head=2,
                                     bos_token_id=0, eos_token_id=0)  # fmt: skip
    return transformers.GPT2LMHeadModel(config).to(dtype).eval(), torch.randint(vocabulary, (6, 12))


class Scaled(nn.Module):
    """Reads a weight of another module in its own forward, and one of its own around its children."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.gain = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Parameter(torch.rand(6, 6))

    def forward(self, ids):
        hidden = torch.tanh(self.mix(self.embed(ids) @ self.gain)).mean(1)
        return hidden @ self.embed.weight.T


class Routed(nn.Module):
    """Which expert runs depends on the weights: passes part and meet again."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts, self.head = (
            nn.Linear(6, 3),
            nn.ModuleList(nn.Linear(6, 6) for _ in range(3)),
            nn.Linear(6, 4),
        )

    def forward(self, x):
        return self.head(torch.relu(self.experts[int(self.gate(x).mean(0).argmax())](x)))


def models():
    torch.manual_seed(1)
    x, ids = torch.randn(8, 6), torch.randint(9, (8, 5))
    dense = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 4))
    encoder = nn.Sequential(nn.TransformerEncoderLayer(6, 2, 12, batch_first=True), nn.Flatten(), nn.Linear(30, 4))
    yield "dense", dense, x, 4
    yield "encoder", encoder, torch.randn(8, 5, 6), 4
    yield "scaled", Scaled(), ids, 9
    yield "routed", Routed(), x, 4
    yield "lstm", nn.Sequential(nn.LSTM(6, 5, batch_first=True)), torch.randn(8, 5, 6), 5


class First(nn.Module):
    def forward(self, x):
        x = x[0] if isinstance(x, tuple) else x
        return x[:, -1] if x.ndim == 3 else x


@pytest.mark.parametrize(("name", "model", "x", "classes"), list(models()), ids=[one[0] for one in models()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_have_the_bits_of_a_moved_copy_and_the_model_stays_as_it_was(name, model, x, classes, dtype):
    if name == "lstm" and dtype == torch.bfloat16:
        pytest.skip("no such kernel")
    model = nn.Sequential(model, First()).to(dtype).eval()
    x, y = x.to(dtype) if x.is_floating_point() else x, torch.randint(classes, (8,))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    surface = la.StreamedSurface(model, cross_entropy, (x, y), seed=4)
    found = surface.values(POINTS)
    assert torch.equal(found, moved(surface, model, POINTS, lambda one: cross_entropy(one(x), y)))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all("forward" not in vars(module) for module in model.modules())
    assert ("larger module" in " ".join(surface.notes)) == (name in ("encoder", "scaled"))


@pytest.mark.slow
def test_a_point_has_the_bits_it_has_alone():
    model, ids = gpt2()
    surface = la.StreamedSurface(model, "model", {"input_ids": ids, "labels": ids})
    alone = torch.cat([surface.values(one[None]) for one in POINTS])
    assert torch.equal(surface.values(POINTS), alone)
    assert torch.equal(alone, moved(surface, model, POINTS, lambda one: one(input_ids=ids, labels=ids).loss))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_embeddings_and_heads_are_made_by_rows_and_their_logits_are_never_all_there(dtype, monkeypatch):
    monkeypatch.setattr(_pieces, "CHUNK", 24 * 20)
    monkeypatch.setattr(_weights, "CHUNK", 24 * 20)
    model, ids = gpt2(dtype)
    mask = torch.ones_like(ids)
    mask[0, 7:] = 0
    surface = la.StreamedSurface(model, "tokens", {"input_ids": ids, "attention_mask": mask}, seed=2)
    assert surface._last is model.lm_head and surface.bytes < 4 * 4 * 24 * 100

    def judged(one):
        logits = one(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        return cross_entropy(logits.reshape(-1, 96), ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100).reshape(-1))

    found = surface.read(POINTS)
    rough = 1e-6 if dtype == torch.float32 else 5e-3
    torch.testing.assert_close(found.values, moved(surface, model, POINTS, judged), rtol=rough, atol=0)
    torch.testing.assert_close(found.extras["perplexity"], found.values.exp())
    with torch.no_grad():
        guess = model(input_ids=ids, attention_mask=mask).logits[:, :-1].argmax(-1)
    right = ((guess == ids[:, 1:]) & (mask[:, 1:] == 1)).sum() / mask[:, 1:].sum()
    assert float(found.extras["token accuracy"][0]) == pytest.approx(float(right), abs=0.03)


@pytest.mark.slow
def test_the_mean_is_over_tokens_however_they_are_batched():
    model, ids = gpt2()
    mask = torch.ones_like(ids)
    mask[:3, 5:] = 0
    whole = la.StreamedSurface(model, "tokens", {"input_ids": ids, "attention_mask": mask})
    parts = [{"input_ids": i, "attention_mask": m} for i, m in zip(ids.split([1, 5]), mask.split([1, 5]), strict=True)]
    torch.testing.assert_close(
        la.StreamedSurface(model, "tokens", parts).values(POINTS), whole.values(POINTS), rtol=1e-6, atol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["filter", "layer", "dfilter", "dlayer", "weight", "none"])
def test_directions_follow_the_written_policy(normalization):
    model, ids = gpt2()
    surface = la.StreamedSurface(model, "tokens", {"input_ids": ids}, normalization=normalization)
    weights = dict(model.named_parameters())
    for block in layout_of(model).blocks:
        for axis, found in enumerate(surface.direction(block.name)):
            rows = [surface.pieces.draw(block, axis, begin, end) for begin, end in _pieces.chunks(block)]
            slow = torch.cat(rows).reshape(-1).double().numpy()
            scale(slow, weights[block.name].detach().reshape(-1), surface.pieces.rule(block), normalization)
            torch.testing.assert_close(found.reshape(-1).double(), torch.from_numpy(slow), rtol=2e-6, atol=1e-9)


@pytest.mark.slow
def test_a_chart_of_it_is_a_chart_like_any_other(tmp_path):
    model, ids = gpt2()
    surface = la.StreamedSurface(model, "tokens", {"input_ids": ids})
    made = la.chart(surface, surface.plane, points=7, exact=True, ledger=tmp_path / "kept", progress=False)
    again = la.chart(surface, surface.plane, points=7, exact=True, ledger=tmp_path / "kept", progress=False)
    assert (made.loss == again.loss).all() and again.meter.recalled == 49
    assert made.provenance["surface"]["dimension"] == surface.parameters and "perplexity" in made.extras
    made.save(tmp_path / "saved")
    assert la.load(tmp_path / "saved").title == made.title
    line = la.StreamedSurface(model, "tokens", {"input_ids": ids}, axes=1)
    assert la.chart(line, line.plane, points=5, exact=True, progress=False).is_line


def test_an_error_of_the_users_code_leaves_the_model_as_it_was():
    class Fails(nn.Linear):
        def forward(self, x):
            if float(self.weight.abs().sum()) > 30:
                raise KeyError("too far")
            return super().forward(x)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), Fails(8, 4)).eval()
    own = dict(model.named_parameters())
    surface = la.StreamedSurface(model, cross_entropy, (torch.randn(8, 6), torch.randint(4, (8,))))
    with pytest.raises(la.ModelError, match=r"KeyError at \(90, 0\)"):
        surface.values(torch.tensor([[0.0, 0.0], [90.0, 0.0]]))
    assert all(parameter is own[name] for name, parameter in model.named_parameters())
    assert torch.isfinite(surface.values(POINTS)).all()


def test_what_cannot_be_streamed_is_refused():
    model = nn.Sequential(nn.Linear(6, 4)).eval()
    pair = (torch.randn(8, 6), torch.randint(4, (8,)))
    for given, said in [
        ((3, cross_entropy, pair), "Module"),
        ((nn.Sequential(nn.Linear(6, 4)), cross_entropy, pair), "training"),
        ((model, "mse", pair), "'tokens'"),
        ((model, "model", pair), "dictionaries"),
        ((model, cross_entropy, []), "no batches"),
        (
            (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5)).eval().requires_grad_(False), cross_entropy, pair),
            "trainable",
        ),
    ]:
        with pytest.raises(la.LossAtlasError, match=said):
            la.StreamedSurface(*given)
    for settings, said in [
        ({"axes": 3}, "axes"),
        ({"normalization": "li2018"}, "normalization"),
        ({"seed": -1}, "seed"),
    ]:
        with pytest.raises(la.LossAtlasError, match=said):
            la.StreamedSurface(model, cross_entropy, pair, **settings)
    with pytest.raises(la.NotApplicableError, match="losses only"):
        la.StreamedSurface(model, cross_entropy, pair).gradients(POINTS)

    class Random(nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.rand(4)

    with pytest.raises(la.ModelError, match="fixed function"):
        la.StreamedSurface(Random(6, 4).eval(), cross_entropy, pair)


@pytest.mark.slow
def test_directions_come_from_files_and_from_adapters(tmp_path):
    from safetensors.torch import save_file

    model, ids = gpt2()
    draw = torch.Generator().manual_seed(5)
    one = {name: torch.randn(p.shape, generator=draw) for name, p in model.named_parameters() if "attn" in name}
    save_file(one, tmp_path / "one.safetensors")
    a, b = torch.randn(3, 24, generator=draw), torch.randn(72, 3, generator=draw)
    linear = nn.Sequential(nn.Linear(24, 72), nn.Tanh(), nn.Linear(72, 4)).eval()
    save_file(
        {"base_model.model.0.lora_A.weight": a, "base_model.model.0.lora_B.weight": b}, tmp_path / "lora.safetensors"
    )
    surface = la.StreamedSurface(model, "tokens", {"input_ids": ids}, directions=[tmp_path / "one.safetensors"])
    assert surface.dimension == 1 and "one.safetensors" in surface.plane.labels[0]
    for name, found in one.items():
        assert torch.equal(surface.direction(name)[0], found)
    assert not surface.direction("transformer.wte.weight")[0].any()
    judged = lambda m: m(input_ids=ids, labels=ids).loss  # noqa: E731
    torch.testing.assert_close(
        surface.values(POINTS[:, :1]), moved(surface, model, POINTS[:, :1], judged), rtol=1e-6, atol=0
    )
    pair = (torch.randn(8, 24), torch.randint(4, (8,)))
    adapter = la.StreamedSurface(linear, cross_entropy, pair, directions=[tmp_path / "lora.safetensors"])
    torch.testing.assert_close(adapter.direction("0.weight")[0], b @ a)
    assert torch.equal(
        adapter.values(POINTS[:, :1]),
        moved(adapter, linear, POINTS[:, :1], lambda m: cross_entropy(m(pair[0]), pair[1])),
    )
    with pytest.raises(la.CheckpointError, match="holds none"):
        la.StreamedSurface(linear, cross_entropy, pair, directions=[tmp_path / "one.safetensors"])


@pytest.mark.slow
def test_weights_on_the_disk_and_norms_of_another_type_need_no_conversion(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model, ids = gpt2(torch.bfloat16)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.float()
            module.register_forward_pre_hook(lambda _, given: (given[0].float(),))
            module.register_forward_hook(lambda _, given, out: out.bfloat16())
    batch = {"input_ids": ids, "labels": ids}
    here = la.StreamedSurface(model, "model", batch, ignore="nothing")
    expected = here.values(POINTS)
    judged = lambda m: m(**batch).loss  # noqa: E731
    assert torch.equal(expected, moved(here, model, POINTS, judged))
    device_map = {"transformer.wte": "cpu", "lm_head": "cpu", "transformer.wpe": "cpu", "transformer.ln_f": "cpu",
                  "transformer.h.0": "cpu", "transformer.h.1": "disk"}  # fmt: skip
    away = accelerate.dispatch_model(
        copy.deepcopy(model), device_map, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True
    )
    assert away.transformer.h[1].attn.c_attn.weight.is_meta
    surface = la.StreamedSurface(away, "model", batch, ignore="nothing")
    assert torch.equal(surface.values(POINTS), expected)
    assert away.transformer.h[1].attn.c_attn.weight.is_meta


@pytest.fixture
def by_rows(monkeypatch):
    """Layers count as large from 480 entries on."""
    monkeypatch.setattr(_pieces, "CHUNK", 24 * 20)
    monkeypatch.setattr(_weights, "CHUNK", 24 * 20)


@pytest.mark.slow
def test_what_a_model_does_to_its_logits_is_not_lost(by_rows):
    """Gemma 2 bends its logits: no change to speak of at small ones, a great one far from the center."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Gemma2Config(vocab_size=96, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                                       num_key_value_heads=1, head_dim=12, final_logit_softcapping=2.0, pad_token_id=0)  # fmt: skip
    model, ids = transformers.Gemma2ForCausalLM(config).eval(), torch.randint(96, (4, 12))
    surface = la.StreamedSurface(model, "tokens", {"input_ids": ids})
    far = torch.cat([POINTS, torch.tensor([[6.0, -4.0]], dtype=torch.float64)])
    judged = lambda m: m(input_ids=ids, labels=ids).loss  # noqa: E731
    torch.testing.assert_close(surface.values(far), moved(surface, model, far, judged), rtol=1e-5, atol=0)
    assert surface._last is None


@pytest.mark.slow
def test_double_precision_is_kept_in_the_logits(by_rows):
    model, ids = gpt2(torch.float64)
    surface = la.StreamedSurface(model, "tokens", {"input_ids": ids})

    def judged(one):
        return cross_entropy(one(input_ids=ids).logits[:, :-1].reshape(-1, 96), ids[:, 1:].reshape(-1))

    assert surface._last is model.lm_head
    torch.testing.assert_close(surface.values(POINTS), moved(surface, model, POINTS, judged), rtol=1e-13, atol=0)


@pytest.mark.slow
def test_tokens_outside_of_the_vocabulary_are_an_error_and_no_numbers_from_nowhere(by_rows):
    model, ids = gpt2()
    wrong = ids.clone()
    wrong[-1, -2] = 96
    surface = la.StreamedSurface(model, "tokens", [{"input_ids": ids}, {"input_ids": wrong}])
    with pytest.raises(la.ModelError, match="IndexError"):
        surface.values(POINTS[:1])


def test_a_loss_that_reads_parameters_of_its_own_is_refused():
    model, pair = nn.Sequential(nn.Linear(6, 4)).eval(), (torch.randn(8, 6), torch.randint(4, (8,)))
    with pytest.raises(la.ModelError, match="outside of the model's forward"):
        la.StreamedSurface(model, lambda o, y: cross_entropy(o, y) + model[0].weight.square().sum(), pair)


def test_a_loader_gives_the_batches_and_no_token_to_judge_is_said():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).eval()
    x, y = torch.randn(12, 6), torch.randint(4, (12,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=5)
    whole = la.StreamedSurface(model, cross_entropy, (x, y)).values(POINTS)
    found = la.StreamedSurface(model, cross_entropy, loader, together=3)
    torch.testing.assert_close(found.values(POINTS), whole, rtol=1e-6, atol=0)
    assert found.examples == 12 and "plane through" in found.sentence
    language, ids = gpt2()
    with pytest.raises(la.DataError, match="no token"):
        la.StreamedSurface(language, "tokens", {"input_ids": ids, "labels": torch.full_like(ids, -100)})


@pytest.mark.slow
def test_a_card_that_needs_gradients_says_so():
    model, ids = gpt2()
    surface = la.StreamedSurface(model, "tokens", {"input_ids": ids})
    made = la.chart(surface, surface.plane, points=5, exact=True, progress=False)
    assert "not measured" in str(made.card(progress=False)).lower()


def llama(dtype=torch.float32, device="meta", **sizes):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 6} | sizes
    config = transformers.LlamaConfig(num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, **sizes)
    with torch.device(device):
        return transformers.LlamaForCausalLM(config).to(dtype).eval()


IDS = torch.randint(256, (4, 24), generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_a_model_without_numbers_is_forecast_and_never_evaluated():
    surface = la.StreamedSurface(llama(torch.bfloat16), "tokens", [{"input_ids": one} for one in IDS.split(2)])
    told = la.forecast(surface, surface.plane, points=7, exact=True)
    assert told.evaluations == 49 + 16 and told.measured_on == 0 and told.seconds > 0
    assert "an estimate, nothing was evaluated" in " ".join(told.notes) and "matrices" in " ".join(told.notes)
    own = 2 * surface.parameters
    assert own < told.memory["cpu"] < own + 10**8 and "on cpu" in told.sentence
    # By hand: every weight of a matrix once for each token, and attention's two products.
    matrices = sum(p.numel() for name, p in surface.model.named_parameters() if p.ndim == 2 and "embed" not in name)
    assert surface.planned.flops == 2 * matrices * IDS.numel() + 6 * 4 * 4 * 4 * 24 * 24 * 8
    with pytest.raises(la.ModelError, match=r"no numbers.*la.forecast"):
        surface.values(POINTS)
    assert any("forecast, not evaluated" in note for note in surface.notes)


@pytest.mark.slow
def test_directions_without_numbers_are_those_of_the_weights_but_for_the_norms():
    planned, there = (
        la.StreamedSurface(llama(device=device), "tokens", {"input_ids": IDS}, seed=3) for device in ("meta", "cpu")
    )
    for name in ("model.layers.4.mlp.down_proj.weight", "lm_head.weight"):
        norms = dict(there.model.named_parameters())[name].detach().norm(dim=1, keepdim=True)
        for bare, used in zip(planned.direction(name), there.direction(name), strict=True):
            torch.testing.assert_close(bare * norms, used, rtol=1e-5, atol=1e-7)
    assert not planned.direction("model.norm.weight")[0].any()


@pytest.mark.slow
@pytest.mark.parametrize("rows", [False, True])
def test_the_bytes_of_activations_are_those_that_are_there(rows, monkeypatch):
    """Against what is alive, operation by operation, while passes really run."""
    for module in (_planned, _weights, _pieces) if rows else ():
        monkeypatch.setattr(module, "CHUNK", 2**13)
    surface = la.StreamedSurface(llama(device="cpu", hidden_size=64), "tokens", {"input_ids": IDS}, together=4)
    seen = _planned._Seen()
    with _every_pass(seen):
        surface.values(POINTS)
    told, most = surface._followed().activations(4)["cpu"], seen.beside["cpu"]
    # What large layers give is made for all passes at once, on a thread that is not watched: the embedding's here.
    most += 4 * IDS.numel() * 64 * 4 if rows else 0
    assert 0.8 * told < most < 1.1 * told


@contextlib.contextmanager
def _every_pass(seen):
    """A mode is of one thread: each pass enters it anew."""
    before = Pass._main

    def main(self):
        with seen:
            before(self)

    Pass._main = main
    try:
        yield
    finally:
        Pass._main = before


@pytest.mark.slow
def test_what_does_not_fit_is_refused_with_what_would(monkeypatch):
    model = llama(device="cpu")
    needs = la.StreamedSurface(model, "tokens", {"input_ids": IDS}).memory["cpu"]
    own = 4 * sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(_surface, "free", lambda device: (needs - own) // 2)
    with pytest.raises(
        la.InputError, match=r"beside the model \(32 passes of .* are free; together=\d+ would fit"
    ) as refused:
        la.StreamedSurface(model, "tokens", {"input_ids": IDS})
    assert "\n" not in str(refused.value)
    fewer = int(str(refused.value).rpartition("together=")[2].partition(" ")[0])
    assert 1 < fewer < 32 and la.StreamedSurface(model, "tokens", {"input_ids": IDS}, together=fewer).together == fewer
    with pytest.raises(la.InputError, match="would fit"):
        la.StreamedSurface(model, "tokens", {"input_ids": IDS}, together=fewer + 1)
    monkeypatch.setattr(_surface, "free", lambda device: 1000)
    with pytest.raises(la.InputError, match="smaller batches, or a device with more memory"):
        la.StreamedSurface(model, "tokens", {"input_ids": IDS})


@pytest.mark.slow
def test_a_model_that_looks_at_numbers_on_its_way_says_that_it_cannot_be_followed():
    with torch.device("meta"):
        model = Routed().eval()
    surface = la.StreamedSurface(model, cross_entropy, (torch.randn(8, 6), torch.randint(4, (8,))))
    assert any("cannot be followed without numbers" in note for note in surface.notes)
    assert la.forecast(surface, surface.plane, points=5, exact=True).evaluations == 25


@pytest.mark.slow
def test_eight_billion_parameters_are_forecast_without_one_of_them():
    model = llama(torch.bfloat16, vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32)
    batches = [{"input_ids": torch.zeros(2, 2048, dtype=torch.long)}] * 4
    small = la.StreamedSurface(llama(), "tokens", {"input_ids": IDS})
    la.forecast(small, small.plane, points=7, exact=True)  # what is imported for it
    begin = time.process_time()
    surface = la.StreamedSurface(model, "tokens", batches)
    told = la.forecast(surface, surface.plane, points=7, exact=True)
    assert time.process_time() - begin < 3  # a second on a machine of its own
    assert surface.parameters > 7e9 and 2 * surface.parameters < told.memory["cpu"] < 4 * surface.parameters
    begin = time.process_time()
    found = surface.direction("model.layers.31.mlp.gate_proj.weight")
    assert time.process_time() - begin < 6
    torch.testing.assert_close(found[0].norm(dim=1), torch.ones(14336), rtol=1e-5, atol=0)


class Judging(nn.Module):
    """Returns its loss: the mean over labels that are not −100, shifted as a language model does, or the sum."""

    def __init__(self, shift=0, mean=True):
        super().__init__()
        self.embed, self.head, self.shift, self.mean = nn.Embedding(9, 6), nn.Linear(6, 9), shift, mean

    def forward(self, ids, labels):
        logits = self.head(torch.tanh(self.embed(ids)))[:, : ids.shape[1] - self.shift]
        found = cross_entropy(
            logits.reshape(-1, 9), labels[:, self.shift :].reshape(-1), reduction="mean" if self.mean else "sum"
        )
        return {"loss": found}


def half_labeled(shift=0):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(9, (6, 8), generator=generator)
    labels = ids.clone()
    for row, kept in enumerate((8, 1, 3, 8, 2, 5)):
        labels[row, : 8 - kept] = -100
    if shift:
        labels[:, 0] = 1  # a label that is judged only where nothing is shifted
    return ids, labels


@pytest.mark.parametrize("sizes", [[2, 4], [1] * 6])
@pytest.mark.parametrize(("shift", "over"), [(0, "labels,"), (1, "labels that follow another,")])
def test_a_mean_over_labels_is_the_same_however_batches_are_cut(shift, over, sizes):
    torch.manual_seed(0)
    model, (ids, labels) = Judging(shift).eval(), half_labeled(shift)
    whole = la.StreamedSurface(model, "model", {"ids": ids, "labels": labels})
    parts = [{"ids": i, "labels": y} for i, y in zip(ids.split(sizes), labels.split(sizes), strict=True)]
    cut = la.StreamedSurface(model, "model", parts)
    torch.testing.assert_close(cut.values(POINTS), whole.values(POINTS), rtol=1e-6, atol=0)
    assert not whole.notes and any(f"weighted by their {over}" in note for note in cut.notes)


def test_a_function_of_labels_is_weighted_by_them_and_a_sum_says_that_batches_matter():
    torch.manual_seed(0)
    model, (ids, labels) = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9)).eval(), half_labeled()
    judged = lambda output, y: cross_entropy(output.reshape(-1, 9), y.reshape(-1))  # noqa: E731
    whole = la.StreamedSurface(model, judged, (ids, labels)).values(POINTS)
    parts = list(zip(ids.split([2, 4]), labels.split([2, 4]), strict=True))
    torch.testing.assert_close(la.StreamedSurface(model, judged, parts).values(POINTS), whole, rtol=1e-6, atol=0)
    rows = la.StreamedSurface(model, judged, [(x, x) for x in ids.split([2, 4])])
    assert not rows.notes
    summed = la.StreamedSurface(Judging(mean=False).eval(), "model", [{"ids": x, "labels": y} for x, y in parts])
    assert any("no mean over rows or labels" in note for note in summed.notes)


class Both(nn.Module):
    """Looks at all tokens, or at those before."""

    def __init__(self, ahead):
        super().__init__()
        self.embed, self.head, self.ahead = nn.Embedding(9, 6), nn.Linear(6, 9), ahead

    def forward(self, input_ids):
        hidden = torch.tanh(self.embed(input_ids))
        return self.head(hidden.mean(1, keepdim=True).expand_as(hidden) if self.ahead else hidden.cumsum(1))


@pytest.mark.parametrize("ahead", [True, False])
def test_a_model_that_reads_what_it_is_to_predict_is_said(ahead):
    torch.manual_seed(0)
    surface = la.StreamedSurface(Both(ahead).eval(), "tokens", {"input_ids": half_labeled()[0]})
    assert any("no causal language model" in note for note in surface.notes) == ahead


def test_free_memory_of_threads_is_given_back(monkeypatch):
    from lossatlas import _memory

    kept, calls, pages = _memory.Kept(most=4096), [], iter([10, 11, 12, 5])
    monkeypatch.setattr(kept, "_resident", lambda: 4096 * next(pages))
    kept._trim, kept._least = calls.append, 4096 * 10
    for _ in range(3):
        kept.give_back()  # as much as before; one page more, which is allowed; two, of which most are given back
    assert calls == [0] and kept._least == 4096 * 5


@pytest.mark.parametrize("normalization", ["filter", "layer", "weight"])
def test_directions_and_moved_weights_have_the_bits_of_one_thread_and_of_one_pass(normalization, monkeypatch):
    """Pieces are as large as a core's memory, and the bits are those of whole tensors."""
    monkeypatch.setattr(_pieces, "CHUNK", 2**10)
    monkeypatch.setattr(_pieces, "WIDE", 2**8)
    threads, found = torch.get_num_threads(), []
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(70, 90), nn.Embedding(130, 30), nn.Conv2d(8, 9, 3)).bfloat16()
    pieces = _pieces.Pieces(5, 2, normalization, None)
    for count in (1, 2):
        torch.set_num_threads(count)
        try:
            found.append({b.name: pieces.made(b, model.get_parameter(b.name)) for b in layout_of(model).blocks})
        finally:
            torch.set_num_threads(threads)
    for name, made in found[0].items():
        assert all(torch.equal(one, two) for one, two in zip(made, found[1][name], strict=True))
        weight = model.get_parameter(name).detach()
        whole = weight.float().add_(made[0], alpha=0.3).add_(made[1], alpha=-1.7).bfloat16()
        assert torch.equal(_pieces.moved_to(weight, made, (0.3, -1.7)), whole)
