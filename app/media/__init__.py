"""Bytes: images, thumbnails, embeddings, snapshots, checkpoints, addressed by the hash of their content."""
