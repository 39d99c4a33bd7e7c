"""`python -m toque`."""

from toque.cli import main

if __name__ == "__main__":
    main()
