//! Nearest neighbours, exactly, in blocks of matrix products.
