"""In-context learning of linear attention as a spin glass."""
