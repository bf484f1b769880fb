//! Clients' certificates: which name in them says whose they are. The handshake verified them.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// A pattern of a name in a certificate (a URI or DNS name of its SAN), with or without one placeholder for the part
/// that tells whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SanPattern {
    is_uri: bool,
    before: String,
    /// What is behind the placeholder, where there is one.
    after: Option<String>,
}

/// The names of one certificate. Its subject's common name does not count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
}

/// How a certificate's names fit a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fit {
    No,
    /// One name does, and this is in the placeholder's place (nothing, where there is none).
    Yes(String),
    /// Several do, and differ there.
    Doubtful,
}

impl SanPattern {
    /// `spiffe://example.com/account/{account}`, `{account}.agents.example.com`, or a name without a placeholder.
    pub(crate) fn try_new(text: &str, placeholder: &str) -> Option<Self> {
        let is_uri = text.contains("://");
        let (before, after) = match text.split_once(placeholder) {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_graphic()) && !part.contains(['{', '}', '*']);
        let parts = [before, after.unwrap_or_default()];
        (!text.is_empty() && parts.into_iter().all(plain)).then(|| {
            // DNS names are the same in any case.
            let owned = |part: &str| if is_uri { part.to_owned() } else { part.to_ascii_lowercase() };
            Self { is_uri, before: owned(before), after: after.map(owned) }
        })
    }

    pub(crate) fn has_placeholder(&self) -> bool {
        self.after.is_some()
    }

    pub(crate) fn fit(&self, names: &Names) -> Fit {
        let candidates = if self.is_uri { &names.uris } else { &names.dns };
        let mut fit = Fit::No;
        for found in candidates.iter().filter_map(|name| self.placed(name)) {
            match &fit {
                Fit::No => fit = Fit::Yes(found),
                Fit::Yes(other) if *other == found => {}
                _ => return Fit::Doubtful,
            }
        }
        fit
    }

    fn placed(&self, name: &str) -> Option<String> {
        let Some(after) = &self.after else { return (name == self.before).then(String::new) };
        let placed = name.strip_prefix(self.before.as_str())?.strip_suffix(after.as_str())?;
        // One part of the name, so that nothing longer passes for it.
        let one_part = !placed.is_empty() && !placed.contains(['/', '.', '*', '?', '#', '%', ':', '@']);
        one_part.then(|| placed.to_owned())
    }
}

impl Names {
    /// Of a certificate; none of one that can't be read.
    pub(crate) fn of(certificate: &Arc<CertificateDer<'static>>) -> Self {
        let Ok(certificate) = EndEntityCert::try_from(certificate.as_ref()) else { return Self::default() };
        Self {
            dns: certificate.valid_dns_names().map(str::to_ascii_lowercase).collect(),
            uris: certificate.valid_uri_names().map(str::to_owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pattern: &str, dns: &[&str], uris: &[&str]) -> Fit {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        SanPattern::try_new(pattern, "{account}").unwrap().fit(&Names { dns: owned(dns), uris: owned(uris) })
    }

    #[test]
    fn the_placeholder_is_one_part_of_one_name() {
        let yes = |account: &str| Fit::Yes(account.to_owned());
        let spiffe = "spiffe://example.com/account/{account}";
        assert_eq!(fit(spiffe, &[], &["spiffe://example.com/account/111122223333"]), yes("111122223333"));
        assert_eq!(fit("{account}.Agents.example.com", &["111122223333.agents.example.com"], &[]), yes("111122223333"));
        assert_eq!(fit("spiffe://example.com/gateway", &[], &["spiffe://example.com/gateway"]), yes(""));
        for wrong in [
            "spiffe://example.com/account/1/2",
            "spiffe://example.com/account/",
            "spiffe://example.com.evil.com/account/1",
            "spiffe://EXAMPLE.com/account/1",
            "https://example.com/account/1",
        ] {
            assert_eq!(fit(spiffe, &["spiffe://example.com/account/1"], &[wrong]), Fit::No, "{wrong}");
        }
        assert_eq!(
            fit("{account}.agents.example.com", &["a.b.agents.example.com", "*.agents.example.com"], &[]),
            Fit::No
        );
    }

    #[test]
    fn two_names_that_differ_are_nobodys() {
        let uris = ["spiffe://e/a/111122223333", "spiffe://e/a/444455556666"];
        assert_eq!(fit("spiffe://e/a/{account}", &[], &uris), Fit::Doubtful);
        assert_eq!(fit("spiffe://e/a/{account}", &[], &[uris[0], uris[0]]), Fit::Yes("111122223333".into()));
        assert_eq!(SanPattern::try_new("spiffe://e/{account}/{account}", "{account}"), None);
        assert_eq!(SanPattern::try_new("*.example.com", "{account}"), None);
        assert_eq!(SanPattern::try_new("", "{account}"), None);
    }

    /// A certificate in DER, then its names as lines.
    #[test]
    fn certificate() {
        tenantscope_fuzz::fuzz!("certificate", |input| {
            let patterns = ["spiffe://example.com/account/{account}", "{account}.agents.example.com"];
            let text = String::from_utf8_lossy(input);
            let names: Vec<String> = text.lines().map(str::to_owned).collect();
            let told = Names { dns: names.iter().map(|name| name.to_ascii_lowercase()).collect(), uris: names };
            for names in [Names::of(&Arc::new(CertificateDer::from(input.to_vec()))), told] {
                for pattern in patterns {
                    let Fit::Yes(account) = SanPattern::try_new(pattern, "{account}").unwrap().fit(&names) else {
                        continue;
                    };
                    let whole = pattern.replace("{account}", &account);
                    assert!(
                        names.uris.contains(&whole) || names.dns.contains(&whole),
                        "{whole} is a name as it stands"
                    );
                    assert!(!account.is_empty() && !account.contains(['/', '.']));
                }
            }
            if let Some(pattern) = SanPattern::try_new(&text, "{account}") {
                let _ = pattern.fit(&Names::default());
            }
        });
    }
}
