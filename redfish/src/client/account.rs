//! Accounts: who there is, what locks them, and changing a password.

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::Client;
use crate::error::Error;
use crate::model::{Account, LockoutPolicy, link};
use crate::operation::Operation;
use crate::session::Ask;

const DEFAULT_ACCOUNTS: &str = "/redfish/v1/AccountService";
/// Accounts looked at.
const ACCOUNT_LIMIT: usize = 64;

impl Client {
    /// The accounts that the one we use may see.
    pub async fn accounts(&self) -> Result<Vec<Account>, Error> {
        let operation = Operation::ReadAccounts;
        let service = self.account_service().await?;
        let path =
            link(&service, "Accounts").unwrap_or_else(|| format!("{DEFAULT_ACCOUNTS}/Accounts"));
        let collected = self.collect(operation, &path, ACCOUNT_LIMIT).await?;
        let accounts = collected
            .members
            .iter()
            .map(|body| Account::parse(body, None))
            // iDRAC lists its empty slots as accounts without a name.
            .filter(|account| account.username.is_some());
        Ok(accounts.collect())
    }

    /// How many wrong passwords lock an account, and for how long.
    pub async fn lockout_policy(&self) -> Result<LockoutPolicy, Error> {
        Ok(LockoutPolicy::parse(&self.account_service().await?))
    }

    /// Changes the password of our own account, logs in with the new one, and uses it from then
    /// on. Works on an account that has to change its password before anything else.
    ///
    /// # Errors
    /// [`Error::Unauthorized`]: the BMC accepted the change and refuses the new password. After
    /// [`Error::may_have_acted`] the owner has to try both.
    pub async fn change_own_password(&self, new: &SecretString) -> Result<(), Error> {
        let username = self.session.username().await;
        self.change_password(&username, new).await?;
        // The session of the old password is deleted where the BMC has not done that itself.
        if let Err(error) = self.close().await {
            tracing::debug!(error.reason = error.reason(), "old session not deleted");
        }
        self.session.replace_password(new.clone()).await;
        let service = self.account_path().await?;
        let ask = Ask::get(Operation::ReadAccounts, &service);
        match self.send_raw(&ask).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes the password of another account. Our own is not used afterwards with the new one:
    /// for that, see [`Client::change_own_password`].
    ///
    /// # Errors
    /// [`Error::AccountNotFound`], or [`Error::Rejected`] with the BMC's rules for passwords.
    pub async fn change_password(&self, username: &str, new: &SecretString) -> Result<(), Error> {
        let operation = Operation::ChangePassword;
        let account = self.account_named(username).await?;
        let body = json!({ "Password": new.expose_secret() });
        self.patch(operation, &account.path, account.etag.as_deref(), &body)
            .await
    }

    /// The account with its latest tag. An account that must change its password may see nothing
    /// but itself, and is told where that is.
    async fn account_named(&self, username: &str) -> Result<Account, Error> {
        let operation = Operation::ReadAccounts;
        let mut listed = self.accounts().await;
        // A login that was refused for this reason is repeated with basic credentials.
        if let Err(Error::PasswordChangeRequired {
            operation: Operation::Login,
            ..
        }) = listed
        {
            listed = self.accounts().await;
        }
        let path = match listed {
            Ok(accounts) => accounts
                .into_iter()
                .find(|account| account.username.as_deref() == Some(username))
                .map(|account| account.path),
            Err(Error::PasswordChangeRequired {
                account: Some(path),
                ..
            }) => Some(path),
            Err(error) => return Err(error),
        };
        let not_found = || Error::AccountNotFound {
            username: username.to_owned(),
        };
        let path = path.ok_or_else(not_found)?;
        match self.get(operation, &path).await {
            Ok(response) => {
                let mut account = Account::parse(&response.body, response.etag());
                account.path = path;
                Ok(account)
            }
            Err(Error::PasswordChangeRequired { .. } | Error::AccessDenied { .. }) => Ok(Account {
                path,
                ..Account::default()
            }),
            Err(error) => Err(error),
        }
    }

    async fn account_path(&self) -> Result<String, Error> {
        let root = self.service_root().await?;
        Ok(root
            .accounts
            .clone()
            .unwrap_or_else(|| DEFAULT_ACCOUNTS.to_owned()))
    }

    async fn account_service(&self) -> Result<serde_json::Value, Error> {
        let path = self.account_path().await?;
        Ok(self.get(Operation::ReadAccounts, &path).await?.body)
    }
}
