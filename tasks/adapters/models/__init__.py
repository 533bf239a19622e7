"""The models, and what any model needs: where its checkpoint is, where it runs, what it costs."""
