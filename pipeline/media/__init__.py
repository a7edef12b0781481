"""Video files: what is in them, their frames and sound by presentation time, and safe workers.

One clock serves frames and sound: its zero is where the earlier of the two streams begins (never
before the container's own zero), as in players and ffmpeg's command line.
"""
