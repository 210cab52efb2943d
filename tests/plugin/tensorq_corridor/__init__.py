"""A package that adds to tensorq: a world, a head, an encoder, a preset and an observer, one file each."""

from pathlib import Path

import tensorq as tq

tq.register_world("Corridor-v0", "tensorq_corridor.world:Corridor")
tq.register_head("log_cosh", "tensorq_corridor.head:LogCosh")
tq.register_encoder("waves", "tensorq_corridor.encoder:Waves")
tq.register_preset("corridor", str(Path(__file__).with_name("preset.toml")))
