//! [`FromReply`]: reads the answer of the server as a type.

use std::collections::HashMap;
use std::hash::Hash;

use bytes::Bytes;

use super::resp::Reply;

/// A type that an answer can be read as. `None` means that the answer has another form.
pub(crate) trait FromReply: Sized {
    fn from_reply(reply: Reply) -> Option<Self>;
}

impl FromReply for Reply {
    fn from_reply(reply: Reply) -> Option<Self> {
        Some(reply)
    }
}

/// Any answer that is not an error.
impl FromReply for () {
    fn from_reply(_: Reply) -> Option<Self> {
        Some(())
    }
}

impl FromReply for Bytes {
    fn from_reply(reply: Reply) -> Option<Self> {
        match reply {
            Reply::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl FromReply for String {
    fn from_reply(reply: Reply) -> Option<Self> {
        Self::from_utf8(Bytes::from_reply(reply)?.into()).ok()
    }
}

impl FromReply for i64 {
    fn from_reply(reply: Reply) -> Option<Self> {
        match reply {
            Reply::Int(number) => Some(number),
            // `TIME` returns numbers as texts.
            Reply::Text(text) => std::str::from_utf8(&text).ok()?.parse().ok(),
            _ => None,
        }
    }
}

macro_rules! from_number {
    ($($number:ty)*) => {$(
        impl FromReply for $number {
            fn from_reply(reply: Reply) -> Option<Self> {
                i64::from_reply(reply)?.try_into().ok()
            }
        }
    )*};
}
from_number!(u8 usize);

impl<T: FromReply> FromReply for Option<T> {
    fn from_reply(reply: Reply) -> Option<Self> {
        match reply {
            Reply::Null => Some(None),
            reply => T::from_reply(reply).map(Some),
        }
    }
}

impl<T: FromReply> FromReply for Vec<T> {
    fn from_reply(reply: Reply) -> Option<Self> {
        match reply {
            Reply::List(values) => values.into_iter().map(T::from_reply).collect(),
            _ => None,
        }
    }
}

impl<K: FromReply + Eq + Hash, V: FromReply> FromReply for HashMap<K, V> {
    fn from_reply(reply: Reply) -> Option<Self> {
        let Reply::List(values) = reply else {
            return None;
        };
        let mut values = values.into_iter();
        let mut map = Self::new();
        while let Some(key) = values.next() {
            map.insert(K::from_reply(key)?, V::from_reply(values.next()?)?);
        }
        Some(map)
    }
}

macro_rules! from_tuple {
    ($($name:ident)*) => {
        impl<$($name: FromReply),*> FromReply for ($($name,)*) {
            fn from_reply(reply: Reply) -> Option<Self> {
                let Reply::List(values) = reply else {
                    return None;
                };
                let mut values = values.into_iter();
                let tuple = ($($name::from_reply(values.next()?)?,)*);
                values.next().is_none().then_some(tuple)
            }
        }
    };
}
from_tuple!(A B);
from_tuple!(A B C);
from_tuple!(A B C D);
from_tuple!(A B C D E F);
from_tuple!(A B C D E F G);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Reply {
        Reply::Text(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        let list = Reply::List(vec![Reply::Int(1), text("2")]);

        assert_eq!(<(u8, i64)>::from_reply(list.clone()), Some((1, 2)));
        assert_eq!(Vec::<usize>::from_reply(list.clone()), Some(vec![1, 2]));
        assert_eq!(<(u8, i64, u8)>::from_reply(list.clone()), None);
        assert_eq!(Bytes::from_reply(list.clone()), None);
        assert_eq!(Option::<Vec<Bytes>>::from_reply(Reply::Null), Some(None));
        assert_eq!(u8::from_reply(Reply::Int(256)), None);
        let map = HashMap::<usize, String>::from_reply(list);
        assert_eq!(map, Some(HashMap::from([(1, "2".to_owned())])));
    }
}
