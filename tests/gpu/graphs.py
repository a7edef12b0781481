"""The tests of CUDA graphs in training alone, for a run that is short of time."""

from proofs import main

if __name__ == "__main__":
    # One method that is killed is enough: LINK, which has dropout of its own.
    main("graphs and not (kill and valorpp)")
