//! The schemes of providers that are not compiled in: each names the feature it needs.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::Provider;
use pymq_core::{Error, ErrorKind, ProviderUrl, Result, Scheme};

/// A provider that is not compiled in.
#[derive(Debug)]
pub(crate) struct Off {
    schemes: &'static [&'static str],
    feature: &'static str,
}

impl Off {
    pub(crate) fn new(schemes: &'static [&'static str], feature: &'static str) -> Self {
        Self { schemes, feature }
    }
}

#[async_trait]
impl Scheme for Off {
    fn schemes(&self) -> &'static [&'static str] {
        self.schemes
    }

    async fn connect(&self, url: &ProviderUrl) -> Result<Arc<dyn Provider>> {
        let context = format!(
            "the scheme `{}` needs the feature `{}` of the crate `pymq`",
            url.scheme(),
            self.feature
        );
        Err(Error::new(ErrorKind::InvalidConfig, context))
    }
}
