"""A language model run on text: hidden states, attention and next-token distributions, streamed."""
