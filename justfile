# What CI runs.
check:
    .ci/run

# Benchmarks of what must be fast; `just bench --bench figures -- --quick` for a part (docs/benchmarks.md).
bench *ARGS:
    cargo bench {{ARGS}}

# Only the tests against graphql-ws on Node.
interop:
    tests/interop/install.sh
    STRESSCTL_REQUIRE_INTEROP=1 cargo test --test interop

# Licences, advisories and sources of every dependency (needs cargo-deny).
deny:
    cargo deny check
