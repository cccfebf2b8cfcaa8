//! URLs of providers: nothing panics, and no text contains a password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pymq_core::ProviderUrl;

const SECRET: &str = "sEcReT-1948";

fuzz_target!(|text: &str| {
    look(text);
    // The same with a password where a URL may contain one.
    look(&format!("redis://user:{SECRET}@{text}"));
    let next = if text.contains('?') { '&' } else { '?' };
    look(&format!("{text}{next}pass={SECRET}"));
    look(&format!("{text}{next}password={SECRET}"));
});

fn look(text: &str) {
    let hides = |shown: String| assert!(!shown.contains(SECRET), "{shown}");
    match text.parse::<ProviderUrl>() {
        Ok(url) => hides(format!("{url} {url:?}")),
        Err(error) => hides(format!("{error} {error:?}")),
    }
    match text.parse::<pymq_provider_redis::RedisConfig>() {
        Ok(config) => hides(format!("{config:?}")),
        Err(error) => hides(format!("{error} {error:?}")),
    }
}
