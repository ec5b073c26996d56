//! lib - what both programs share: the allocator, the limit of descriptors, the versions.

/// With glibc's allocator a task that is spawned and cancelled takes twice as long. coil has jemalloc.
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

/// As many descriptors as the hard limit allows.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}
