//! Looks for the log of a session that ended.

use sessionwarden_machine::{
    decode::PREFERENCES,
    document::log_stream_name,
    ids::{EventTime, SessionKey},
    posture::{CallError, Places, combine_logs, judge_object, judge_stream, object_keys, places},
    session::{Life, LogLook},
};

use super::{Round, Told};
use crate::ports::Hands;

impl<H: Hands> Round<'_, H> {
    pub(super) async fn of_ended(&self, key: SessionKey, ended_at: Option<EventTime>) -> Told {
        let preferences = self.survey.document(key.account, &key.region, &PREFERENCES.into()).await;
        let places = places(self.settings, &preferences, &key, &mut self.memory.lock());
        let object_keys = object_keys(self.settings, &preferences, &key, &mut self.memory.lock());
        let object = self.object(&key, &places, &object_keys, ended_at).await;
        let stream = self.stream(&key, places.log_group.as_ref()).await.map(|stream| {
            let group = places.log_group.as_deref().unwrap_or_default();
            let name = log_stream_name(&key.id);
            match stream {
                Ok(stream) => judge_stream(group, &name, stream.as_ref(), ended_at, self.settings),
                // A group that does not exist holds no stream.
                Err(CallError::Gone) => judge_stream(group, &name, None, ended_at, self.settings),
                Err(_) => LogLook::Unknown,
            }
        });
        let log = combine_logs(object, stream);
        Told { key, life: Life::Unknown, posture: None, log }
    }

    /// Looks under each key the log may have, until it is found.
    async fn object(
        &self,
        key: &SessionKey,
        places: &Places,
        object_keys: &[String],
        ended_at: Option<EventTime>,
    ) -> Option<LogLook> {
        let bucket = places.bucket.as_ref()?;
        let mut unknown = false;
        for object_key in object_keys {
            match self.survey.object(key.account, bucket, object_key).await {
                Ok(Some(object)) => {
                    // Where a prefix is wanted, it stands first.
                    let wanted = match self.settings.posture.preferences.s3_prefix {
                        Some(_) => object_keys.get(..1).unwrap_or_default(),
                        None => object_keys,
                    };
                    return Some(judge_object(key, bucket, object_key, wanted, &object, ended_at, self.settings));
                }
                Ok(None) | Err(CallError::Gone) => {}
                Err(_) => unknown = true,
            }
        }
        let first = object_keys.first().map_or("", |key| key.as_str());
        Some(if unknown {
            LogLook::Unknown
        } else {
            LogLook::Absent(format!("no object s3://{bucket}/{first}").into())
        })
    }
}
