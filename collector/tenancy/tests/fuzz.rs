//! The registry's file under a fuzzer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use tenantscope_fuzz::{Counting, fuzz, peak_bytes};
use tenantscope_tenancy::Tenants;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A file that is refused says where; one that is taken gives each account to one tenant.
#[test]
fn registry_file() {
    fuzz!("registry_file", |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let (parsed, bytes) = peak_bytes(|| Tenants::parse(Path::new("tenants.yaml"), text));
        assert!(bytes <= (1 << 20) + 2048 * input.len(), "{bytes} bytes for {}", input.len());
        match parsed {
            Err(error) => assert!(error.to_string().starts_with("tenants.yaml:"), "{error}"),
            Ok(tenants) => {
                for tenant in tenants.iter() {
                    for account in &tenant.accounts {
                        assert_eq!(tenants.owner(*account).map(|owner| &owner.id), Some(&tenant.id));
                    }
                }
            }
        }
    });
}
