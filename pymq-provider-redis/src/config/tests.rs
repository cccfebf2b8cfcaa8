use proptest::prelude::*;

use super::*;

fn error(url: &str) -> Error {
    url.parse::<RedisConfig>().unwrap_err()
}

fn server(config: &RedisConfig) -> &ConnectionInfo {
    match &config.server {
        ServerConfig::One(server) => server,
        _ => panic!("{config:?}"),
    }
}

#[test]
fn a_url_says_everything() {
    let config: RedisConfig = "redis://u:p%40ss@host:7000/3?namespace=shop&op_timeout=250ms"
        .parse()
        .unwrap();

    assert_eq!(
        server(&config).addr(),
        &ConnectionAddr::Tcp("host".to_owned(), 7000)
    );
    assert_eq!(server(&config).redis_settings().username(), Some("u"));
    assert_eq!(server(&config).redis_settings().password(), Some("p@ss"));
    assert_eq!(server(&config).redis_settings().db(), 3);
    assert_eq!(config.namespace, "shop");
    assert_eq!(
        config.timeouts(),
        (Duration::from_secs(5), Duration::from_millis(250))
    );
}

#[test]
fn replicas_are_read_with_their_timeout() {
    let needed = |query: &str| {
        let config: RedisConfig = format!("redis://host?{query}").parse().unwrap();
        config.required_replicas()
    };

    assert_eq!(needed("replicas=1"), Some((1, Duration::from_secs(1))));
    let both = needed("replicas=2&replica_timeout=250ms");
    assert_eq!(both, Some((2, Duration::from_millis(250))));
    for off in ["", "replicas=0", "replicas=0&replica_timeout=0s"] {
        assert_eq!(needed(off), None, "{off}");
    }
    let config = RedisConfig::default().replicas(1, Duration::MAX);
    assert_eq!(config.required_replicas(), Some((1, MAX_DURATION)));
}

#[test]
fn replicas_that_make_no_sense_are_refused() {
    for (query, named) in [
        ("replicas=all", "`replicas`"),
        ("replicas=-1", "`replicas`"),
        ("replicas=", "`replicas`"),
        ("replicas=1&replica_timeout=0s", "`replica_timeout`"),
        ("replicas=1&replica_timeout=soon", "`replica_timeout=soon`"),
        ("replica_timeout=1s", "`replicas`"),
    ] {
        let error = error(&format!("redis://host?{query}"));
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{query}");
        assert!(error.to_string().contains(named), "{error}");
    }
    let config = RedisConfig::default().replicas(1, Duration::ZERO);
    assert_eq!(config.check().unwrap_err().kind(), ErrorKind::InvalidConfig);
}

#[test]
fn a_socket_takes_its_credentials_as_parameters() {
    let config: RedisConfig = "unix:///run/redis.sock?db=2&user=u&pass=s3cret"
        .parse()
        .unwrap();

    assert_eq!(
        server(&config).addr(),
        &ConnectionAddr::Unix("/run/redis.sock".into())
    );
    assert_eq!(server(&config).redis_settings().db(), 2);
    assert_eq!(server(&config).redis_settings().password(), Some("s3cret"));
}

#[test]
fn sentinels_are_read_with_their_master() {
    let config: RedisConfig = "redis-sentinel://u:p%40ss@one,[::1]:7/my%20orders/3\
        ?namespace=shop&sentinel_user=s&sentinel_pass=t%26t"
        .parse()
        .unwrap();

    let ServerConfig::Sentinels(sentinels) = &config.server else {
        panic!("{config:?}");
    };
    assert_eq!(sentinels.master, "my orders");
    let addresses: Vec<_> = sentinels.servers.iter().map(ConnectionInfo::addr).collect();
    assert_eq!(
        addresses,
        [
            &ConnectionAddr::Tcp("one".to_owned(), 26_379),
            &ConnectionAddr::Tcp("::1".to_owned(), 7)
        ]
    );
    for server in &sentinels.servers {
        assert_eq!(server.redis_settings().username(), Some("s"));
        assert_eq!(server.redis_settings().password(), Some("t&t"));
    }
    assert_eq!(sentinels.of_master.redis_settings().username(), Some("u"));
    assert_eq!(
        sentinels.of_master.redis_settings().password(),
        Some("p@ss")
    );
    assert_eq!(sentinels.of_master.redis_settings().db(), 3);
    assert_eq!(config.namespace, "shop");
    assert!(!format!("{config:?}").contains("t&t"));
}

#[test]
fn the_nodes_of_a_cluster_share_their_credentials() {
    let config: RedisConfig = "redis-cluster://u:p%40ss@one,[::1]:7?namespace=shop"
        .parse()
        .unwrap();

    let ServerConfig::Cluster(cluster) = &config.server else {
        panic!("{config:?}");
    };
    let addresses: Vec<_> = cluster.servers.iter().map(ConnectionInfo::addr).collect();
    assert_eq!(
        addresses,
        [
            &ConnectionAddr::Tcp("one".to_owned(), 6_379),
            &ConnectionAddr::Tcp("::1".to_owned(), 7)
        ]
    );
    for server in &cluster.servers {
        assert_eq!(server.redis_settings().username(), Some("u"));
        assert_eq!(server.redis_settings().password(), Some("p@ss"));
    }
    assert_eq!(config.namespace, "shop");
}

#[test]
fn a_cluster_has_only_one_database() {
    let config: RedisConfig = "redis-cluster://one".parse().unwrap();

    assert!(config.check().is_ok());
    let error = config.database(1).check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}

#[test]
fn only_the_topics_of_a_cluster_can_be_spread() {
    let config: RedisConfig = "redis-cluster://one?spread_topics=true".parse().unwrap();

    assert!(config.has_spread_topics());
    let error = RedisConfig::default().spread_topics(true).check();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
}

#[cfg(feature = "tls")]
#[test]
fn tls_of_the_master_and_of_the_sentinels_are_apart() {
    for (query, master, sentinel) in [
        ("", false, false),
        ("?tls=true", true, false),
        ("?sentinel_tls=true&tls=false", false, true),
    ] {
        let config: RedisConfig = format!("redis-sentinel://one/orders{query}")
            .parse()
            .unwrap();
        let is_tls = |info: &ConnectionInfo| matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let ServerConfig::Sentinels(sentinels) = &config.server else {
            panic!("{config:?}");
        };
        assert_eq!(is_tls(&sentinels.of_master), master, "{query}");
        assert_eq!(is_tls(&sentinels.servers[0]), sentinel, "{query}");
    }
}

#[test]
fn no_secret_prints() {
    let by_url: RedisConfig = "redis://user:s3cret@host".parse().unwrap();
    let by_setter = RedisConfig::default()
        .username("user")
        .password("s3cret")
        .database(1);
    let bad = error("redis://user:s3cret@host/notanumber");

    assert!(!format!("{by_url:?} {by_setter:?} {bad} {bad:?}").contains("s3cret"));
}

proptest! {
    #[test]
    fn no_secret_is_in_any_text(
        user in "[a-z]{0,4}",
        around in ("[ -~ä\t]{0,6}", "[ -~ä\t]{0,6}"),
        scheme in "redis|rediss|redis-sentinel|redis-cluster|redis\\+unix|unix",
        name in "(pass|password|sentinel_pass|sentinel_user|tls|namespace|op_timeout|connect_timeout|replicas|replica_timeout)",
        end in "(/0|/x|\\?namespace=a|\\?op_timeout=soon|#x|)",
    ) {
        const SECRET: &str = "S3CR3T";
        let secret = format!("{}{SECRET}{}", around.0, around.1);
        let escaped: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        // An `&` ends the parameter and with it the secret, and the rest is a name.
        let value = secret.replace('&', "");
        for text in [
            format!("{scheme}://{user}:{secret}@host{end}"),
            format!("{scheme}://{user}:{escaped}@host{end}"),
            format!("{scheme}://{user}:{escaped}@host,other:7/orders/x"),
            format!("{scheme}://host/orders?tls=true&sentinel_pass={value}"),
            format!("{scheme}:///run/redis.sock?pass={value}&db=x"),
            format!("{scheme}:///run/redis.sock?user={user}&pass={escaped}"),
            format!("{scheme}://{user}:?{name}={value}@host"),
            format!("{scheme}://{user}:?{name}={value}#@host"),
        ] {
            let shown = match text.parse::<RedisConfig>() {
                Ok(config) => format!("{config:?}"),
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    format!("{error} {error:?} {source:?}")
                }
            };
            prop_assert!(!shown.contains(SECRET), "{text}: {shown}");
        }
    }
}

#[test]
fn an_unusable_url_is_refused() {
    for url in [
        "redis://host/x",
        "redis://host?db=1",
        "redis://host#insecure",
        "unix://",
        "redis://host?op_timeout=soon",
        "redis://host?op_timeout=0",
        "redis://host?connect_timeout=0ms",
        "redis://host?namespace=",
        "redis://host?namespace=a:b",
        "redis://host?namespace=a%00b",
        "redis://one,two",
        "redis+unix://one,two/run/redis.sock",
        "redis-sentinel://one",
        "redis-sentinel://one/",
        "redis-sentinel://one/orders/x",
        "redis-sentinel://one/orders/0/1",
        "redis-sentinel:///orders",
        "redis-sentinel://one/orders?tls=yes",
        "redis-sentinel://one/orders?db=1",
        "redis://one?sentinel_pass=a",
        "redis-cluster://one/1",
        "redis-cluster://one,two/orders",
        "redis-cluster://one?tls=yes",
        "redis-cluster://one?db=0",
        "redis-cluster://one?spread_topics=1",
        "redis://one?spread_topics=true",
        "redis-cluster:///0",
    ] {
        assert_eq!(error(url).kind(), ErrorKind::InvalidConfig, "{url}");
    }
    assert!(
        error("redis://host?namspace=a")
            .to_string()
            .contains("`namespace`")
    );
}

#[cfg(feature = "tls")]
#[test]
fn a_url_with_tls_keeps_its_other_parts() {
    let config: RedisConfig = "rediss://u:p@host:7000/3".parse().unwrap();

    let is_tls = matches!(
        server(&config).addr(),
        ConnectionAddr::TcpTls { host, port: 7000, insecure: false, .. } if host == "host"
    );
    assert!(is_tls);
    assert_eq!(server(&config).redis_settings().db(), 3);
    assert_eq!(
        error("rediss://host#insecure").kind(),
        ErrorKind::InvalidConfig
    );
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_without_the_feature_names_it() {
    let error = error("rediss://host");

    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.to_string().contains("feature `redis-tls`"));
}
