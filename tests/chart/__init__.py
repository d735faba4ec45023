"""The Helm chart, rendered by the real Helm and checked without a cluster."""
