"""``python -m trajhmm``."""

from trajhmm.cli import main

if __name__ == "__main__":
    main()
