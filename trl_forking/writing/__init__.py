"""How results are written for people: files, Markdown, numbers, colors, texts of tokens. It imports nothing else of ours."""
