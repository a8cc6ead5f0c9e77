//! Settings of an account: the EC2 serial console and the Default Host Management role.

use serde::Deserialize;
use serde_json::json;
use sessionwarden_machine::wanted::State;

use super::{Api, Change, Failure, Means, Thing, signed};
use crate::aws::signed::{EC2, SSM};

/// `DisableSerialConsoleAccess` and `GetSerialConsoleAccessStatus`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SerialConsole {
    serial_console_access_enabled: bool,
}

impl Thing<'_> {
    pub(super) async fn serial_console(&self) -> Result<State, Failure> {
        let found = self.about_serial_console("GetSerialConsoleAccessStatus").await?;
        Ok(State::from([("access".into(), found.serial_console_access_enabled.into())]))
    }

    pub(super) async fn close_serial_console(&self) -> Result<(), Failure> {
        self.about_serial_console("DisableSerialConsoleAccess").await.map(drop)
    }

    async fn about_serial_console(&self, action: &'static str) -> Result<SerialConsole, Failure> {
        let send = |means: &Means| signed::query::<SerialConsole>(&EC2, means.clone(), action, Vec::new());
        self.hands.call(&self.place, Api::Ec2, action, send).await
    }

    pub(super) async fn host_management(&self) -> Result<State, Failure> {
        let found = self.ask(&SSM, "GetServiceSetting", json!({ "SettingId": self.name })).await?;
        let role = found["ServiceSetting"]["SettingValue"].as_str().ok_or_else(|| Failure::unknown(false))?;
        Ok(State::from([("role".into(), role.into())]))
    }

    pub(super) async fn write_host_management(&self, change: &Change<'_>) -> Result<(), Failure> {
        let input = json!({ "SettingId": self.name, "SettingValue": change.wanted });
        self.ask(&SSM, "UpdateServiceSetting", input).await.map(drop)
    }
}
