"""The model card: facts of a run, recorded in its folder, and the page that is made of them."""
