//! h2 frames written by hand, for what no library would send (RFC 9113; header blocks of literals only, RFC 7541 §6.2).
