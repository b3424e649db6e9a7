"""Which parameters count as what: PyTorch's layers, names of state dicts, heads, and what the user says."""

import numpy as np
import pytest

from trajhmm.metrics import parameters_of, weight_metrics


def roles(source, **options):
    return {parameter.name: (parameter.role, parameter.heads) for parameter in parameters_of(source, **options)}


def arrays(**shapes):
    rng = np.random.default_rng(0)
    return {name.replace("__", "."): rng.normal(size=shape) for name, shape in shapes.items()}


GPT2 = arrays(
    wte__weight=(50, 8),
    wpe__weight=(16, 8),
    h__0__ln_1__weight=(8,),
    h__0__ln_1__bias=(8,),
    h__0__attn__c_attn__weight=(8, 24),
    h__0__attn__c_attn__bias=(24,),
    h__0__attn__c_proj__weight=(8, 8),
    h__0__mlp__c_fc__weight=(8, 32),
    ln_f__weight=(8,),
    ln_f__bias=(8,),
    lm_head__weight=(50, 8),
)


def test_embeddings_and_normalisation_of_a_state_dict_are_left_out():
    assert roles(GPT2, heads=2) == {
        "h.0.attn.c_attn.weight": ("fused_heads", 6),
        "h.0.attn.c_attn.bias": ("bias", 1),
        "h.0.attn.c_proj.weight": ("matrix", 1),
        "h.0.mlp.c_fc.weight": ("matrix", 1),
    }


def test_names_of_many_architectures():
    named = arrays(
        model__embed_tokens__weight=(50, 8),
        model__layers__0__self_attn__q_proj__weight=(8, 8),
        model__layers__0__self_attn__k_proj__weight=(4, 8),
        model__layers__0__self_attn__v_proj__bias=(4,),
        model__layers__0__input_layernorm__weight=(8,),
        gpt_neox__layers__0__attention__query_key_value__weight=(24, 8),
        bert__encoder__layer__0__attention__self__query__weight=(8, 8),
        bert__embeddings__LayerNorm__bias=(8,),
        block__attn__W_K=(4, 2, 8),
        block__mlp__W_in=(32, 8),
        block__mlp__b_in=(32,),
        unembed__W_U=(8, 50),
        blocks__0__relative_attention_bias__weight=(32, 4),
        layer1__0__conv1__weight=(4, 3, 3, 3),
        layer1__0__bn1__weight=(4,),
        layer1__0__bn1__bias=(4,),
        layer1__0__bn1__running_mean=(4,),
        mixer__conv1d__weight=(16, 1, 4),
        features__1__weight=(4,),
        features__1__bias=(4,),
        patch_embed__proj__weight=(8, 3, 4, 4),
        patch_embed__proj__bias=(8,),
        pos_embed=(1, 5, 8),
        lstm__weight_ih_l0=(16, 8),
        lstm__bias_ih_l0=(16,),
    )
    named["steps"] = np.arange(3)
    named["attn.bias"] = np.tril(np.ones((1, 1, 4, 4), dtype=bool))
    named["h.0.attn.bias"] = np.tril(np.ones((1, 1, 4, 4), dtype=np.float32))
    assert roles(named, heads=(4, 2)) == {
        "model.layers.0.self_attn.q_proj.weight": ("heads", 4),
        "model.layers.0.self_attn.k_proj.weight": ("heads", 2),
        "model.layers.0.self_attn.v_proj.bias": ("bias", 1),
        "gpt_neox.layers.0.attention.query_key_value.weight": ("fused_heads", 8),
        "bert.encoder.layer.0.attention.self.query.weight": ("heads", 4),
        "block.attn.W_K": ("heads", 1),
        "block.mlp.W_in": ("matrix", 1),
        "block.mlp.b_in": ("bias", 1),
        "layer1.0.conv1.weight": ("kernels", 1),
        "mixer.conv1d.weight": ("kernels", 1),
        "patch_embed.proj.weight": ("kernels", 1),
        "patch_embed.proj.bias": ("bias", 1),
        "lstm.weight_ih_l0": ("matrix", 1),
        "lstm.bias_ih_l0": ("bias", 1),
    }


def test_a_fused_projection_is_split_into_the_heads_of_query_key_and_value():
    rng = np.random.default_rng(1)
    projections = rng.normal(size=(3, 2, 4, 8))  # three projections, two heads, four outputs each
    stacked = projections.reshape(24, 8)
    interleaved = projections.transpose(1, 0, 2, 3).reshape(24, 8)
    expected = weight_metrics(list(projections.reshape(6, 4, 8)))
    for weight in (stacked, interleaved):
        assert weight_metrics({"attn.query_key_value.weight": weight}, heads=2) == pytest.approx(expected)
    turned = weight_metrics({"attn.c_attn.weight": stacked.T}, heads=2)
    for name in ("weight_l1", "weight_l2", "trace", "spectral_norm", "singular_mean"):
        assert turned[name] == pytest.approx(expected[name])


def test_one_projection_is_split_by_rows_and_stays_whole_where_heads_are_unknown():
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(8, 6))
    split = weight_metrics({"q_proj.weight": weight}, heads=4)
    assert split["weight_l2"] == pytest.approx(np.mean([np.linalg.norm(weight[i : i + 2]) for i in range(0, 8, 2)]))
    assert weight_metrics({"q_proj.weight": weight})["weight_l2"] == pytest.approx(np.linalg.norm(weight))


def test_the_user_says_what_counts_as_what():
    assert roles(GPT2, roles={"*.mlp.*": "skip", "wpe.*": "matrix", "*.c_attn.weight": "matrix"}) == {
        "wpe.weight": ("matrix", 1),
        "h.0.attn.c_attn.weight": ("matrix", 1),
        "h.0.attn.c_attn.bias": ("bias", 1),
        "h.0.attn.c_proj.weight": ("matrix", 1),
    }
    with pytest.raises(ValueError, match=r"role 'conv' for '\*': expected one of matrix, heads"):
        parameters_of(GPT2, roles={"*": "conv"})
    with pytest.raises(ValueError, match=r"c_attn\.weight: 24 outputs do not divide into 15 heads"):
        parameters_of(GPT2, heads=5)


class TestModules:
    def test_layers_are_known_by_their_type_whatever_they_are_called(self):
        nn = pytest.importorskip("torch").nn
        model = nn.Sequential(
            nn.Embedding(10, 4),
            nn.Linear(4, 6),
            nn.BatchNorm1d(6),
            nn.Conv1d(6, 2, 3),
            nn.LayerNorm(2),
            nn.Linear(2, 2),
        )
        assert roles(model) == {
            "1.weight": ("matrix", 1),
            "1.bias": ("bias", 1),
            "3.weight": ("kernels", 1),
            "3.bias": ("bias", 1),
            "5.weight": ("matrix", 1),
            "5.bias": ("bias", 1),
        }

    def test_attention_of_pytorch_is_measured_a_head_at_a_time(self):
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        layer = torch.nn.MultiheadAttention(8, 2)
        weight, out = layer.in_proj_weight.detach().numpy(), layer.out_proj.weight.detach().numpy()
        # in_proj is query, key, value on top of each other, and each is its heads on top of each other.
        heads = [weight[8 * p + 4 * h : 8 * p + 4 * h + 4] for p in range(3) for h in range(2)]
        expected = np.mean([np.linalg.norm(matrix) for matrix in [*heads, out]])
        assert weight_metrics(layer)["weight_l2"] == pytest.approx(expected, rel=1e-6)

    def test_attention_over_other_widths_has_projections_of_its_own(self):
        torch = pytest.importorskip("torch")
        layer = torch.nn.MultiheadAttention(8, 4, kdim=6, vdim=3)
        assert {name: heads for name, (_, heads) in roles(layer).items() if "proj_weight" in name} == dict.fromkeys(
            ["q_proj_weight", "k_proj_weight", "v_proj_weight"], 4
        )

    def test_the_user_knows_better_than_the_type(self):
        nn = pytest.importorskip("torch").nn
        model = nn.Sequential(nn.Embedding(10, 4), nn.Conv2d(4, 4, 3), nn.Linear(4, 2))
        assert roles(model, roles={"0.weight": "matrix", "1.*": "skip"}) == {
            "0.weight": ("matrix", 1),
            "2.weight": ("matrix", 1),
            "2.bias": ("bias", 1),
        }

    def test_a_hugging_face_configuration_tells_the_heads(self):
        nn = pytest.importorskip("torch").nn

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.config = type("Config", (), {"num_attention_heads": 4, "num_key_value_heads": 2})()
                self.q_proj, self.v_proj = nn.Linear(8, 8, bias=False), nn.Linear(8, 4, bias=False)

        assert roles(Attention()) == {"q_proj.weight": ("heads", 4), "v_proj.weight": ("heads", 2)}

    def test_a_module_and_its_state_dict_agree(self):
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 5))
        assert weight_metrics(model) == weight_metrics(model.state_dict())
        assert weight_metrics(model)["bias_var"] == pytest.approx(
            np.var(np.concatenate([model[i].bias.detach().numpy() for i in (0, 2)])), rel=1e-6
        )
