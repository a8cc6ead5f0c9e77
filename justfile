# Recipes for daily work. `just check` is what CI runs.

export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", justfile_directory() / "target")

# List the recipes
default:
    @just --list

# Format, lint, licences and sources, coverage page, tests: all that a change must pass
check:
    .ci/run

# Run all tests
test *ARGS:
    cargo test --workspace --locked {{ ARGS }}

# Measure, and write the results document
bench *ARGS:
    cargo build --release --locked -p sessionwarden
    cargo run --release --locked -p sessionwarden-loadtest -- bench {{ ARGS }}

# Watch the demonstration organisation for a minute
demo *ARGS:
    cargo run --release --locked -p sessionwarden -- run --for 60s {{ ARGS }}

# Renew docs/coverage.md from the requirement ids in tests
coverage:
    cargo run --quiet --locked -p sessionwarden-tests --no-default-features --bin coverage

# Simulate: many seeds, each twice, and what fails made small
simulate *ARGS:
    cargo run --release --locked -p sessionwarden-tests --bin simulate -- {{ ARGS }}

# Simulate new seeds for so many minutes
nightly MINUTES="60":
    .ci/nightly {{ MINUTES }}

# Prove that the simulation finds mistakes
mutants *ARGS:
    cargo run --release --locked -p sessionwarden-tests --features mutations --bin mutants -- {{ ARGS }}

# Format all code
fmt:
    cargo fmt --all
