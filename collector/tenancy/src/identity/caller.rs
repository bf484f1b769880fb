//! STS's answer to GetCallerIdentity, read strictly: what has another form than AWS documents is no answer.

use tenantscope_model::AccountId;

use crate::identity::arn;

/// Whose credentials signed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The account.
    pub(crate) account: AccountId,
    /// The user or role session.
    pub(crate) arn: String,
}

/// The answer is not of the documented form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no GetCallerIdentityResponse")]
pub(crate) struct NotACaller;

const DEEPEST: usize = 8;

/// The namespace of STS's answers.
const ROOT_ATTRIBUTES: &str = "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"";

/// Reads `GetCallerIdentityResponse/GetCallerIdentityResult/{Account, Arn}`, each exactly once.
pub(crate) fn parse(text: &str) -> Result<Caller, NotACaller> {
    let mut rest = skip_declaration(text.trim())?;
    let mut path: Vec<&str> = Vec::new();
    let (mut account, mut arn) = (None, None);
    let mut closed = false;
    while !rest.is_empty() {
        let Some(from_tag) = rest.strip_prefix('<') else {
            let (content, next) = rest.split_at(rest.find('<').ok_or(NotACaller)?);
            rest = next;
            let content = content.trim();
            match path.as_slice() {
                _ if content.is_empty() => {}
                ["GetCallerIdentityResponse", "GetCallerIdentityResult", "Account"] => set_once(&mut account, content)?,
                ["GetCallerIdentityResponse", "GetCallerIdentityResult", "Arn"] => set_once(&mut arn, content)?,
                [] | [_] => return Err(NotACaller),
                _ => {}
            }
            continue;
        };
        // Comments, sections and instructions have no place here; refusing them leaves nothing to interpret.
        if closed || from_tag.starts_with(['!', '?']) {
            return Err(NotACaller);
        }
        let (tag, next) = from_tag.split_once('>').ok_or(NotACaller)?;
        rest = next.trim_start_matches(['\n', '\r', '\t', ' ']);
        if let Some(name) = tag.strip_prefix('/') {
            if path.pop() != Some(name.trim_end()) {
                return Err(NotACaller);
            }
            closed = path.is_empty();
        } else if !tag.ends_with('/') {
            if path.len() == DEEPEST {
                return Err(NotACaller);
            }
            // Of attributes, the answer has its namespace alone.
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let as_documented = if path.is_empty() { attributes == ROOT_ATTRIBUTES } else { attributes.is_empty() };
            if name.is_empty() || !as_documented {
                return Err(NotACaller);
            }
            path.push(name);
        }
    }
    let (Some(account), Some(arn), true) = (account, arn, closed) else { return Err(NotACaller) };
    let account = AccountId::try_new(account).map_err(|_| NotACaller)?;
    if !is_arn_of(arn, account) {
        return Err(NotACaller);
    }
    Ok(Caller { account, arn: arn.to_owned() })
}

fn skip_declaration(text: &str) -> Result<&str, NotACaller> {
    let Some(declaration) = text.strip_prefix("<?xml") else { return Ok(text) };
    let (_, rest) = declaration.split_once("?>").ok_or(NotACaller)?;
    Ok(rest.trim_start())
}

fn set_once<'a>(field: &mut Option<&'a str>, content: &'a str) -> Result<(), NotACaller> {
    let plain = content.len() <= 2048 && content.bytes().all(|b| b.is_ascii_graphic() && b != b'&');
    if !plain || field.replace(content).is_some() {
        return Err(NotACaller);
    }
    Ok(())
}

/// An ARN of the account, of the services that name callers.
fn is_arn_of(arn: &str, account: AccountId) -> bool {
    let Some(["arn", _, "sts" | "iam", "", of, _]) = arn::parts(arn) else { return false };
    of == account.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in AWS's documentation of GetCallerIdentity, with an assumed role.
    const ANSWER: &str = r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
  <Arn>arn:aws:sts::123456789012:assumed-role/my-role-name/my-role-session-name</Arn>
    <UserId>ARO123EXAMPLE123:my-role-session-name</UserId>
    <Account>123456789012</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>"#;

    #[test]
    fn the_documented_answer_is_read() {
        let caller = parse(ANSWER).unwrap();
        assert_eq!(caller.account.as_str(), "123456789012");
        assert_eq!(caller.arn, "arn:aws:sts::123456789012:assumed-role/my-role-name/my-role-session-name");
        assert!(parse(&format!("<?xml version=\"1.0\"?>\n{ANSWER}")).is_ok());
    }

    #[test]
    fn anything_else_is_no_answer() {
        for (from, to) in [
            ("<Account>123456789012</Account>", ""),
            ("<Account>123456789012</Account>", "<Account>12345678901</Account>"),
            ("<Account>123456789012</Account>", "<Account>222222222222</Account>"),
            ("<Account>123456789012</Account>", "<Account>123456789012</Account><Account>123456789012</Account>"),
            ("<Account>123456789012</Account>", "<Account><!-- -->123456789012</Account>"),
            ("<Account>123456789012</Account>", "<Account>&#49;23456789012</Account>"),
            ("</GetCallerIdentityResponse>", ""),
            ("</GetCallerIdentityResponse>", "</GetCallerIdentityResponse><x></x>"),
            ("GetCallerIdentityResult", "Result"),
            ("GetCallerIdentityResponse", "ErrorResponse"),
            ("<Arn>", "<Arn>x"),
            ("arn:aws:sts::", "arn:aws:s3::"),
            ("https://sts.amazonaws.com/doc", "https://example.com/doc"),
            (" xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"", ""),
            ("<Account>", "<Account a=\"b\">"),
        ] {
            assert_eq!(parse(&ANSWER.replace(from, to)), Err(NotACaller), "{from} → {to}");
        }
        for wrong in ["", "<", "<a>", "</a>", "text", "{}", "<!DOCTYPE a []><a></a>", &"<a>".repeat(100)] {
            assert_eq!(parse(wrong), Err(NotACaller), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"([<>/?! a&"]|Account|Arn|GetCallerIdentityRes(ult|ponse)|[ -~]){0,60}"#) {
            proptest::prop_assert_eq!(parse(&text), Err(NotACaller));
            arn::matches(&text, ANSWER);
        }
    }

    #[test]
    fn sts_answer() {
        tenantscope_fuzz::fuzz!("sts_answer", |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let Ok(caller) = parse(text) else { return };
            // Nothing passes for an answer in which the account is not written out, once.
            let account = format!(">{}<", caller.account);
            let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            assert_eq!(plain.matches(&account).count(), 1);
            assert!(plain.contains(&caller.arn) && caller.arn.contains(&format!("::{}:", caller.account)));
        });
    }
}
