"""One typed module per kernel family; each hands its arrays to the compiled core and returns a frozen dataclass."""
