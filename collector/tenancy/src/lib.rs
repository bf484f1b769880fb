//! Who is it, whose is it, what may it do: registry, proofs, tokens, scopes, limits.
