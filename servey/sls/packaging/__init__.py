"""What a Lambda package is made of: files of the project, requirements, and the proof that it starts."""
