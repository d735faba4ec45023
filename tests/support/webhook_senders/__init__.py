"""Programs that send signed webhooks with the libraries of the Standard Webhooks project."""
