"""Operations counted by the core, and an estimate of the energy they take."""
