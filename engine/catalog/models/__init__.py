"""The models on offer: cards, the library, architectures and published weights; torch-free."""
