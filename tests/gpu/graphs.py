"""The tests of CUDA graphs in training alone, for a run that is short of time."""

from proofs import main

if __name__ == "__main__":
    main("graphs")
