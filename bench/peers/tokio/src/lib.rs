//! lib - what both programs share: the allocator, and the versions that they announce.

/// Half the time of a spawned and cancelled task is its memory, and with glibc's more than that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What was built: tokio's version as it is locked, and the compiler, where the build told it.
pub fn versions() -> String {
    let lock = include_str!("../Cargo.lock");
    let tokio = lock
        .split("name = \"tokio\"\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("of unknown version");
    format!("tokio {}, {}, mimalloc", tokio, option_env!("PEER_RUSTC").unwrap_or("rustc"))
}
