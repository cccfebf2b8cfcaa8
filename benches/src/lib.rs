//! What pymq costs beside the raw client, in one run.
