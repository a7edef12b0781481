"""Every method at a size that trains in a second or two."""

from collections.abc import Mapping

HAN = {"width": 16, "layers": 1, "heads": 2, "feedforward": 16}
MGN = {"width": 16, "heads": 2, "audio_depth": 1, "visual_depth": 1, "cross_depth": 1}
PYRAMID = {"width": 16, "heads": 2, "feedforward": 16, "levels": 2}
DECODER = {"decoder_layers": 1, "decoder_heads": 2, "decoder_feedforward": 16}
DENOISING = {"width": 16, "feedforward": 16, "estimator_epochs": 2}
SMALL: Mapping[str, Mapping[str, object]] = {
    "han": HAN,
    "mm_pyramid": PYRAMID,
    "mgn": MGN,
    "jomold": DENOISING,
    "cmpae": DENOISING,
    "dgsct_temporal": MGN,
    "valor": HAN,
    "valor_plus": HAN,
    "valorpp": HAN,
    "leap_han": HAN | DECODER,
    "leap": PYRAMID | DECODER,
    "coleaf": DENOISING,
    "coleaf_plus": DENOISING,
    "mm_cse": HAN | {"class_width": 8},
    "nrep": HAN,
    "link": HAN,
    "link_plus": HAN,
    "link_printed": HAN,
    "uwav": HAN,
}
