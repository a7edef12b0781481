"""Video files: what is in them, their frames and sound by presentation time, and safe workers.

One clock serves frames and sound: its zero is where the earlier of the two streams begins (never
before the container's own zero), as in players and ffmpeg's command line.
"""

# What sound is made to be: CLAP's rate (laion_clap), and int16, which is what laion_clap makes of a
# waveform, truncating towards zero.
SAMPLE_RATE = 48_000
FULL_SCALE = 32_767
