//! Journal readers that send everything stamped on to other systems, in the form in which it came.
