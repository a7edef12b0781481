"""Media files: probing, frames and audio by presentation time, and isolated decode workers.

Video and audio share one clock. It starts with the earlier of the two streams, but never before
the container's own zero, as in players and on ffmpeg's command line.
"""

# The audio format of CLAP (laion_clap): 48 kHz, quantised to int16 by truncating towards zero.
SAMPLE_RATE = 48_000
FULL_SCALE = 32_767
