//! From a URL in a configuration to a bus, in every type that a program may use for a URL.

use pymq::provider::ProviderUrl;
use pymq::{ErrorKind, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    bus: ProviderUrl,
    spare: String,
}

const TEXT: &str =
    r#"{"bus": "memory://registry?namespace=a", "spare": "memory://registry?namespace=a"}"#;

#[tokio::test]
async fn a_url_out_of_a_configuration_connects() -> Result<()> {
    let registry = pymq::registry();
    let config: Config = serde_json::from_str(TEXT).expect("it is JSON");

    let buses = [
        registry.connect(&config.bus).await?,
        registry.connect(config.bus).await?,
        registry.connect(&config.spare).await?,
        registry.connect(&*config.spare).await?,
        registry.connect(config.spare).await?,
    ];

    buses[0]
        .queue::<i32>("jobs")
        .put_all(&[0, 1, 2, 3, 4])
        .await?;
    for (number, bus) in buses.iter().enumerate() {
        assert_eq!(bus.queue::<usize>("jobs").try_get().await?, Some(number));
    }
    Ok(())
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_in_every_type() {
    let registry = pymq::registry();
    let (text, unknown) = ("nonsense".to_owned(), "carrier-pigeon://loft");
    let url: ProviderUrl = unknown.parse().expect("it is a URL");

    let refused = [
        registry.connect(&text).await,
        registry.connect(&*text).await,
        registry.connect(text).await,
        registry.connect(unknown).await,
        registry.connect(&url).await,
        registry.connect(url).await,
    ];

    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn a_scheme_that_is_not_compiled_in_names_its_feature() {
    for (url, feature) in [
        ("redis://h", "`redis`"),
        ("unix:///s", "`redis`"),
        ("rediss://h", "`redis-tls`"),
    ] {
        let error = pymq::connect(url).await.unwrap_err();

        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(feature), "{error}");
    }
}
