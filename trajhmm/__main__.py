"""``python -m trajhmm``."""

from trajhmm.cli import program

if __name__ == "__main__":
    program()
