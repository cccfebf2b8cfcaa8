//! How a URL prints: without its secrets, even where a password is not escaped.

use url::{Position, Url};

/// Replaces a secret.
pub(super) const HIDDEN: &str = "***";

/// Tells whether any part of the URL may belong to a password that was not escaped.
///
/// With a `/`, `?` or `#` in the password, the parser ends the host there, and the `@` that
/// follows the password comes after the host. With a second `@`, even the host may belong to the
/// password.
pub(super) fn is_ambiguous(url: &Url) -> bool {
    url.cannot_be_a_base() || url[Position::AfterPort..].contains('@')
}

/// Writes a URL with `***` for each part that is or may be secret. `others` are its further hosts.
///
/// These are the user, which may be a token, the password, the fragment, and each parameter with
/// the name of a secret. In an ambiguous URL it is everything behind the scheme.
pub(super) fn without_secrets(url: &Url, others: &[(String, Option<u16>)]) -> String {
    if is_ambiguous(url) {
        return format!("{}:{HIDDEN}", url.scheme());
    }
    let mut shown = url.clone();
    let has_user = !shown.username().is_empty() || shown.password().is_some();
    // Fails only for URLs that cannot have a user.
    if has_user
        && shown
            .set_password(None)
            .and_then(|()| shown.set_username(HIDDEN))
            .is_err()
    {
        return HIDDEN.to_owned();
    }
    if shown.fragment().is_some() {
        shown.set_fragment(Some(HIDDEN));
    }
    let query = url.query().map(|query| {
        let pairs = query.split('&').map(|pair| {
            let name = url::form_urlencoded::parse(pair.as_bytes()).next();
            match name {
                // Some users separate pairs with `;`. Then the next pair is a part of this value.
                Some((name, value))
                    if is_secret(&name) || (value.contains('=') && is_secret(&value)) =>
                {
                    format!("{}={HIDDEN}", pair.split('=').next().unwrap_or_default())
                }
                _ => pair.to_owned(),
            }
        });
        pairs.collect::<Vec<_>>().join("&")
    });
    shown.set_query(query.as_deref());
    let mut text = shown[..Position::AfterPort].to_owned();
    for (host, port) in others {
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        text.extend([",", host, &port]);
    }
    text + &shown[Position::AfterPort..]
}

/// Tells whether a parameter with this name holds a secret.
fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 7] = ["pass", "pw", "secret", "token", "auth", "cred", "key"];
    let name = name.to_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ProviderUrl;
    use super::super::url::with_causes;

    #[test]
    fn a_password_never_prints() {
        let url: ProviderUrl = "redis://user:s3cret@host:6379/2?namespace=a"
            .parse()
            .unwrap();

        assert!(!format!("{url} {url:?}").contains("s3cret"));
        assert_eq!(url.as_url().password(), Some("s3cret"));
    }

    #[test]
    fn a_secret_prints_nowhere_in_a_url() {
        for url in [
            "unix:///s?db=1&pass=s3cret",
            "redis+unix:///s?PassWord=s3cret",
            "redis+unix:///s?p%61ss=s3cret",
            "redis://h?auth_token=s3cret",
            "redis://h?client_secret=s3cret&namespace=a",
            "redis:user:s3cret@host",
            "redis://u:12/s3cret@host",
            "redis://u:12?s3cret@host",
            "redis://u:12?a=s3cret@host",
            "redis://u:12#s3cret@host",
            "redis://:@s3cret/@host/0",
            "unix://u@s3cret/@host",
            "redis://s3cret@host",
        ] {
            let url: ProviderUrl = url.parse().unwrap();
            let error = url.parameters(&["namespace"]).err();
            let texts = format!("{url} {url:?} {error:?}");
            assert!(!texts.contains("s3cret"), "{texts}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_prints_nowhere() {
        for url in [
            "redis://u:?s3cret#@host",
            "redis://u:/s3cret?x@host",
            "redis://u:/s3cret#x@host",
            "redis://u:?op_timeout=s3cret@host",
            "redis://u:?op_timeout=s3cret#@host",
            "redis://h?op_timeout=1;pass=s3cret",
            "redis://h?db=1;PassWord=s3cret",
            "redis://h?redis_pw=s3cret",
        ] {
            let url: ProviderUrl = url.parse().unwrap();
            assert_hidden("s3cret", &url);
        }
    }

    fn assert_hidden(secret: &str, url: &ProviderUrl) {
        let timeout = url
            .parameters(&["op_timeout", "pass"])
            .and_then(|it| it.duration("op_timeout"));
        let unknown = url.parameters(&["namespace"]);
        let texts = format!("{url} {url:?} {:?} {:?}", timeout.err(), unknown.err());
        assert!(!texts.contains(secret), "{texts}");
    }

    proptest! {
        #[test]
        fn no_secret_is_in_any_text(
            user in "[a-z]{0,4}",
            around in ("[ -~ä\t]{0,6}", "[ -~ä\t]{0,6}"),
            scheme in "redis|rediss|redis\\+unix|redis-sentinel|redis-cluster|unix|memory|kafka",
            name in "(pass|PASS|pass%77ord|client_secret|auth-token|api_key|pwd)",
            end in "(/0|\\?namespace=a|\\?op_timeout=soon|#x|)",
        ) {
            const SECRET: &str = "S3CR3T";
            let secret = format!("{}{SECRET}{}", around.0, around.1);
            let escaped: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            // A `&` ends the parameter. What follows is a name, and nothing says that it is secret.
            let value = secret.replace('&', "");
            for text in [
                format!("{scheme}://{user}:{secret}@host{end}"),
                format!("{scheme}://{user}:{secret}@host,other:7{end}"),
                format!("{scheme}://{user}:{escaped}@host{end}"),
                format!("{scheme}:{user}:{secret}@host{end}"),
                format!("{scheme}:///run/redis.sock?{name}={value}&op_timeout=soon"),
                format!("{scheme}:///run/redis.sock?{name}={escaped}"),
                format!("{scheme}://host?op_timeout=soon&{name}={value}"),
                format!("{scheme}://{user}:{escaped}@host?{name}={value}"),
                format!("{user}:{secret}@host"),
            ] {
                match text.parse::<ProviderUrl>() {
                    Ok(url) => assert_hidden(SECRET, &url),
                    Err(error) => {
                        let text = format!("{error} {error:?} {}", with_causes(&error));
                        prop_assert!(!text.contains(SECRET), "{text}");
                    }
                }
            }
        }
    }
}
