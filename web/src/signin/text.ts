/** The words of the sign-in. */

export const words = {
  product: 'Headrace',
  title: 'Sign in',
  email: 'E-mail',
  password: 'Password',
  with: (name: string) => `Sign in with ${name}`,
  wrong: 'E-mail and password do not fit together',
  wrongHint: 'Try again, or ask an admin for a new sign-in link.',
  noPassword: 'No password yet?',
  check: 'I have signed in',
  link: 'Open the link that an admin sent you, or the sign-in link that Headrace printed in the terminal when it started. Each works once, for 24 hours.',
  linkHow: 'No link at hand? On the machine that runs Headrace this prints a new one:',
  command: 'headrace up',
  welcome: (name: string) => `Welcome, ${name}`,
  welcomeBody: 'You are signed in. Set a password, so that you can come back without a link.',
  newPassword: 'New password',
  repeat: 'The same again',
  passwordHint: (least: number) => `At least ${least} characters; a few words in a row are good.`,
  differ: 'The two passwords are not the same.',
  setPassword: 'Set the password',
  later: 'Later',
};
