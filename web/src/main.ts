import { mount } from 'svelte';
import './tokens.css';
import './base.css';
import './markdown/markdown.css';
import AppView from './ui/App.svelte';
import { applyTheme, ui } from './state/ui.svelte';

applyTheme(ui.theme);
const target = document.getElementById('app');

/** The chat is what most people open: the other places are loaded where they are asked for. */
async function view() {
  const place = location.pathname.split('/')[1];
  if (place === 'manage') return (await import('./manage/Manage.svelte')).default;
  if (place === 'sign-in') return (await import('./signin/SignIn.svelte')).default;
  return AppView;
}

if (target) void view().then((View) => mount(View, { target }));
